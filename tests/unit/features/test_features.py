"""Feature files: written and read back, any damage found, entries found again, merged in the order of the list."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastdup_ray import load_binary, load_binary_feature, load_binary_features, save_binary_feature
from fastdup_ray.common.records import Entry, ImageRef, Limits
from fastdup_ray.errors import DamagedError, ErrorCode
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.extract.video import describe_decoder
from fastdup_ray.features import (
    FeatureSet,
    LookupResult,
    expand_entries,
    lookup_entries,
    merge_ranges,
    merge_sets,
    open_range,
    open_ranges,
    open_shard,
    write_range,
    write_shard,
)
from fastdup_ray.features.stored_embeddings import EmbeddingReader, StoredEmbeddings
from fastdup_ray.inputs.manifest import Manifest, make_entries_table
from fastdup_ray.storage import Store, open_store
from fastdup_ray.storage.checked_json import hash_file, read_json, write_json
from fastdup_ray.storage.tables import encode_names
from tests.helpers.embeddings import unit_rows
from tests.helpers.runs import csv_rows

D = 8
STEM = "features-000000000000-000000000004"
SUFFIXES = (".dat", ".dat.csv", ".bad.csv", ".json")
FACTS = {"format_version": 1, "fingerprint": {"model": "m"}, "d": D, "n": 4, "min_offset": 0, "max_offset": 4}
LIMITS = Limits(max_pixels=1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def good(name: str, *, mtime: str = "1", pixels: int = 100) -> Entry:
    return Entry(name, 10, mtime, sha256="ab", width=pixels // 10, height=10, format="JPEG", rows=1)


def bad(name: str, code: str = "CORRUPT", *, mtime: str = "1", pixels: int | None = None) -> Entry:
    width, height = (pixels // 10, 10) if pixels else (None, None)
    message = 'it is "broken",\nthat is all'
    return Entry(name, 10, mtime, width=width, height=height, error_code=ErrorCode(code), error_message=message)


ENTRIES = [good("/a.jpg"), bad("/b, ñ.jpg"), good(os.fsdecode(b"/c\xff.jpg")), good('/d "x"\n.jpg')]


def put_range(store: Store, entries: Sequence[Entry], stem: str = STEM, seed: int = 0) -> np.ndarray:
    """Writes a range of these entries; returns its rows."""
    rows = rows_for(entries, seed)
    blocks = [rows[:1], rows[1:]]
    write_range(store, stem, encode_names(entry.uri for entry in entries), make_entries_table(entries), blocks, FACTS)
    return rows


def rows_for(entries: Sequence[Entry], seed: int) -> np.ndarray:
    count = sum(entry.rows for entry in entries)
    return unit_rows(max(1, count), D, seed)[:count]


def rows_of(feature_set: FeatureSet) -> np.ndarray:
    """All its rows, as they are read for a merge."""
    rows = np.empty(feature_set.embeddings.shape, "<f4")
    if len(rows):
        with EmbeddingReader() as reader:
            reader.read(feature_set.embeddings, 0, rows)
    return rows


def manifest_of(*entries: Entry) -> Manifest:
    return Manifest.from_refs(ImageRef(entry.uri, entry.size, entry.mtime_or_etag) for entry in entries)


def look_up(manifest: Manifest, fresh: list[FeatureSet], earlier: list[FeatureSet], limits: Limits) -> LookupResult:
    return lookup_entries(manifest, fresh, earlier, limits, list_optional_decoders(), TemporaryFile)


# --- one range --------------------------------------------------------------------------------------------------------


def test_a_range_is_read_back_as_it_was_written(store):
    rows = put_range(store, ENTRIES)
    shard = open_range(store, STEM)
    assert np.array_equal(rows_of(shard), rows)
    assert shard.entries.equals(make_entries_table(ENTRIES))
    assert shard.entries["first_row"].to_pylist() == [0, None, 1, 2]


def test_a_range_of_a_version_without_dates_is_read(store, tmp_path):
    put_range(store, ENTRIES)
    described = read_json(store, f"{STEM}.json")
    del described["entries"]["taken"]
    write_json(store, f"{STEM}.json", described)
    assert open_range(store, STEM).entries.equals(make_entries_table(ENTRIES))


def test_a_range_has_four_files_and_leaves_nothing_else(store, tmp_path):
    put_range(store, ENTRIES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        os.path.basename(STEM) + suffix for suffix in SUFFIXES
    )


def test_a_range_lists_its_good_and_its_bad_ones(store, tmp_path):
    put_range(store, ENTRIES)
    names = [entry.uri for entry in ENTRIES if entry.rows]
    assert csv_rows(tmp_path / f"{STEM}.dat.csv") == [
        ["index", "filename"],
        *([str(i), n] for i, n in enumerate(names)),
    ]
    assert csv_rows(tmp_path / f"{STEM}.bad.csv") == [
        ["filename", "error_code", "message"],
        ["/b, ñ.jpg", "CORRUPT", 'it is "broken",\nthat is all'],
    ]


def test_features_are_float32_little_endian_without_a_header(store, tmp_path):
    rows = put_range(store, ENTRIES)
    assert (tmp_path / f"{STEM}.dat").read_bytes() == rows.astype("<f4").tobytes()


@pytest.mark.parametrize("entries", [[], [bad("/a.jpg")], [bad("/a.jpg"), bad("/b.jpg", "MISSING")]])
def test_a_range_may_have_no_rows(store, entries):
    put_range(store, entries)
    shard = open_range(store, STEM)
    assert shard.embeddings.shape == (0, D)
    assert shard.entries.num_rows == len(entries)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_flipped_byte_of_a_range_is_found(store, tmp_path, suffix):
    put_range(store, ENTRIES)
    path = tmp_path / f"{STEM}{suffix}"
    whole = path.read_bytes()
    for place in sorted({*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 2}):
        for bit in (0x01, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(DamagedError):
                open_range(store, STEM)
    path.write_bytes(whole)
    open_range(store, STEM)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_range_that_is_cut_or_grown_is_found(store, tmp_path, suffix):
    put_range(store, ENTRIES)
    path = tmp_path / f"{STEM}{suffix}"
    whole = path.read_bytes()
    kept = {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 4 * D, len(whole) - 2}
    for damaged in [*(whole[:length] for length in kept), whole + b"\0", whole + whole]:
        path.write_bytes(damaged)
        with pytest.raises(DamagedError):
            open_range(store, STEM)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_range_that_lacks_a_file_is_not_read(store, tmp_path, suffix):
    put_range(store, ENTRIES)
    (tmp_path / f"{STEM}{suffix}").unlink()
    with pytest.raises((DamagedError, FileNotFoundError)):
        open_range(store, STEM)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_another_range_is_found(store, tmp_path, suffix):
    put_range(store, ENTRIES)
    put_range(store, [good("/x.jpg"), bad("/y.jpg"), good("/z.jpg")], "features-000000000004-000000000007", seed=1)
    (tmp_path / f"features-000000000004-000000000007{suffix}").rename(tmp_path / f"{STEM}{suffix}")
    with pytest.raises(DamagedError):
        open_range(store, STEM)


# --- looking up -------------------------------------------------------------------------------------------------------


def a_set(store: Store, *entries: Entry, seed: int = 0) -> FeatureSet:
    stem = f"shards/features-{seed:012d}"
    rows = rows_for(entries, seed)
    write_shard(store, stem, make_entries_table(entries), [rows[:1], rows[1:]], FACTS)
    return open_shard(store, stem)


def known(found) -> list[int]:
    """Which set each entry comes from, -1 where it has to be read."""
    return (np.searchsorted(found.starts, found.position, "right") - 1).tolist()


def test_entries_are_found_by_name_size_and_mtime_in_the_order_of_the_list(store):
    listed = [good("/c"), good("/a"), good("/new"), good("/b")]
    earlier = a_set(store, good("/a"), good("/b"), bad("/gone"), good("/c"))
    found = look_up(manifest_of(*listed), [], [earlier], LIMITS)
    assert known(found) == [0, 0, -1, 0]
    assert found.missing.tolist() == [2]
    assert found.entries["uri"].to_pylist() == ["/c", "/a", None, "/b"]
    assert found.entries["first_row"].to_pylist() == [2, 0, None, 1]


def test_nothing_is_found_where_nothing_is(store):
    found = look_up(manifest_of(good("/a"), good("/b")), [], [], LIMITS)
    assert (known(found), found.missing.tolist(), found.entries.num_rows) == ([-1, -1], [0, 1], 2)


@pytest.mark.parametrize(
    "listed",
    [good("/a", mtime="2"), Entry("/a", 11, "1"), Entry("/A", 10, "1"), Entry("/a", 10, "")],
)
def test_a_picture_that_is_another_now_is_read_again(store, listed):
    assert known(look_up(manifest_of(listed), [], [a_set(store, good("/a"))], LIMITS)) == [-1]


def test_names_that_are_not_utf8_are_found_again(store):
    name = os.fsdecode(b"/caf\xe9.jpg")
    assert known(look_up(manifest_of(good(name)), [], [a_set(store, good(name))], LIMITS)) == [0]


def test_what_this_run_made_goes_before_what_an_earlier_one_left(store):
    earlier, fresh = a_set(store, good("/a"), good("/b"), seed=1), a_set(store, good("/b"), seed=2)
    found = look_up(manifest_of(good("/a"), good("/b")), [fresh], [earlier], LIMITS)
    assert known(found) == [1, 0]


def test_of_several_sets_the_first_counts(store):
    first, second = a_set(store, good("/a"), seed=1), a_set(store, good("/a"), good("/b"), seed=2)
    assert known(look_up(manifest_of(good("/b"), good("/a")), [first, second], [], LIMITS)) == [
        1,
        0,
    ]


def test_keys_are_compared_part_by_part_like_all_at_once(store, monkeypatch):
    monkeypatch.setattr("fastdup_ray.features.match_keys.KEYS_PER_PART", 7)
    ends = ("", ".jpg", ".JPG", "ñ", os.fsdecode(b"\xff"), " and a name that is longer than an ending")
    listed = [
        replace(good(f"/{number}{end}", mtime=str(number % 3)), size=number % 2) for number in range(40) for end in ends
    ]
    half = [entry for entry in listed if entry.uri[2:3] not in ("3", "7")]
    found = look_up(
        manifest_of(*listed),
        [],
        [a_set(store, *reversed(half)), a_set(store, *half, seed=1)],
        LIMITS,
    )
    assert known(found) == [0 if entry in half else -1 for entry in listed]
    uris = [entry.uri for entry in reversed(half)]
    expected = [uris.index(entry.uri) if entry in half else None for entry in listed]
    assert found.entries["first_row"].to_pylist() == expected


LASTING = ["ZERO_SIZE", "NOT_AN_IMAGE", "TRUNCATED", "CORRUPT", "BOUNDING_BOX_OUTSIDE"]
PASSING = ["UNREADABLE", "MISSING", "CHANGED", "READ_FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CRASHED", "UNSUPPORTED"]


def test_every_code_is_lasting_or_passing_or_hangs_on_the_limits():
    assert {*LASTING, *PASSING, "TOO_LARGE", "TOO_SMALL"} == set(ErrorCode)


@pytest.mark.parametrize("code", LASTING)
def test_a_picture_that_is_bad_for_good_is_not_read_again(store, code):
    assert known(look_up(manifest_of(bad("/a")), [], [a_set(store, bad("/a", code))], LIMITS)) == [0]


@pytest.mark.parametrize("code", PASSING)
def test_a_picture_that_was_bad_by_accident_is_read_again(store, code):
    assert known(look_up(manifest_of(bad("/a")), [], [a_set(store, bad("/a", code))], LIMITS)) == [-1]


@pytest.mark.parametrize("code", [*LASTING, *PASSING, "TOO_LARGE"])
def test_what_is_bad_in_this_run_is_not_read_again_in_it(store, code):
    assert known(look_up(manifest_of(bad("/a")), [a_set(store, bad("/a", code))], [], LIMITS)) == [0]


@pytest.mark.parametrize(("max_pixels", "source"), [(999, 0), (1999, 0), (2000, -1), (5000, -1)])
def test_a_picture_that_was_too_large_is_read_again_where_it_fits_now(store, max_pixels, source):
    earlier = a_set(store, bad("/a", "TOO_LARGE", pixels=2000))
    assert known(look_up(manifest_of(bad("/a")), [], [earlier], Limits(max_pixels))) == [source]


@pytest.mark.parametrize(("max_pixels", "source"), [(1999, -1), (2000, 0), (5000, 0)])
def test_a_good_picture_that_is_too_large_now_is_read_again(store, max_pixels, source):
    earlier = a_set(store, good("/a", pixels=2000))
    assert known(look_up(manifest_of(good("/a")), [], [earlier], Limits(max_pixels))) == [source]


@pytest.mark.parametrize(("min_size", "source"), [(2, -1), (10, -1), (11, 0), (500, 0)])
def test_a_picture_that_was_too_small_is_read_again_where_it_is_not_now(store, min_size, source):
    earlier = a_set(store, bad("/a", "TOO_SMALL", pixels=500))
    assert known(look_up(manifest_of(bad("/a")), [], [earlier], Limits(1000, min_size))) == [source]


@pytest.mark.parametrize(("min_size", "source"), [(2, 0), (10, 0), (11, -1)])
def test_a_good_picture_that_is_too_small_now_is_read_again(store, min_size, source):
    earlier = a_set(store, good("/a", pixels=500))
    assert known(look_up(manifest_of(good("/a")), [], [earlier], Limits(1000, min_size))) == [source]


def clip(name: str, rows: int = 3, fps: float = 2.0) -> Entry:
    return replace(good(name), rows=rows, fps=fps)


@pytest.mark.parametrize(
    ("limits", "source"),
    [
        (Limits(1000, video_fps=2.0), 0),
        (Limits(1000, video_fps=1.0), -1),
        (Limits(1000, video_fps=2.0, max_frames=3), 0),
        (Limits(1000, video_fps=2.0, max_frames=2), -1),
    ],
)
def test_the_rows_of_a_video_are_taken_where_the_same_frames_are_asked_for(store, limits, source):
    assert known(look_up(manifest_of(clip("/a.mp4")), [], [a_set(store, clip("/a.mp4"))], limits)) == [source]


@pytest.mark.parametrize(("decoder", "source"), [(None, 0), (describe_decoder(), 0), ("av 0.1", -1)])
def test_rows_that_another_decoder_made_are_not_taken(store, decoder, source):
    entry = replace(good("/a"), decoder=decoder)
    assert known(look_up(manifest_of(entry), [], [a_set(store, entry)], LIMITS)) == [source]


def test_a_picture_is_taken_whatever_is_asked_of_videos(store):
    assert known(look_up(manifest_of(good("/a")), [], [a_set(store, good("/a"))], Limits(1000, 2, 7.0, 1))) == [0]


# --- several rows of one entry ----------------------------------------------------------------------------------------


def test_the_frames_of_a_video_have_names_of_their_own(store):
    entries = [good("/a.jpg"), clip('/b, "c".mp4'), bad("/bad.mp4"), clip("/d.mp4", 2, 3.0), clip("/e.mp4", 1)]
    put_range(store, entries)
    names = [row[1] for row in csv_rows(store.fetch(STEM + ".dat.csv"))[1:]]
    assert names == [
        "/a.jpg",
        *(f'/b, "c".mp4#t={time}' for time in ("0.000", "0.500", "1.000")),
        *("/d.mp4#t=0.000", "/d.mp4#t=0.333", "/e.mp4#t=0.000"),
    ]


def test_frames_have_digests_of_their_own_which_copies_of_the_video_share():
    table = expand_entries(make_entries_table([good("/a.jpg"), clip("/b.mp4"), clip("/copy.mp4")]))
    digests = table["sha256"].to_pylist()
    assert digests[0] == "ab"
    assert len(set(digests)) == 4
    assert digests[1:4] == digests[4:7]


def test_ranges_with_videos_are_merged_under_the_names_of_the_videos(store):
    entries = [clip("/a.mp4"), good(os.fsdecode(b"/\xff.jpg")), bad("/bad.mp4"), clip(os.fsdecode(b"/\xff.mp4"), 2)]
    stems = []
    for start, part in ((0, entries[:2]), (2, entries[2:])):
        stems.append(f"features-{start:012d}-{start + 2:012d}")
        facts = FACTS | {"min_offset": start, "max_offset": start + 2, "list_sha256": "l"}
        rows = unit_rows(sum(entry.rows for entry in part), D, start)
        write_range(
            store, stems[-1], encode_names(entry.uri for entry in part), make_entries_table(part), [rows], facts
        )
    merge_ranges(store, open_ranges(store))
    names = [row[1] for row in csv_rows(store.fetch("features.dat.csv"))[1:]]
    assert [os.fsencode(name) for name in names] == [
        *(b"/a.mp4#t=0.000", b"/a.mp4#t=0.500", b"/a.mp4#t=1.000"),
        *(b"/\xff.jpg", b"/\xff.mp4#t=0.000", b"/\xff.mp4#t=0.500"),
    ]
    assert [row[0] for row in csv_rows(store.fetch("features.bad.csv"))[1:]] == ["/bad.mp4"]


# --- merging ----------------------------------------------------------------------------------------------------------


def test_sets_are_merged_in_the_order_of_the_list(store, tmp_path):
    one = a_set(store, good("/b"), bad("/x", "TRUNCATED"), good("/d"), seed=1)
    two = a_set(store, good("/a"), good("/c"), good("/not listed"), bad("/y"), good("/e"), seed=2)
    entries = [good(name) for name in ("/a", "/b", "/c", "/d", "/e")]
    listed = manifest_of(*entries[:2], bad("/y"), *entries[2:4], bad("/x"), entries[4])
    merge_sets(store, look_up(listed, [one], [two], LIMITS), FACTS)

    names, features = load_binary_feature(tmp_path)
    assert names == ["/a", "/b", "/c", "/d", "/e"]
    first, second = rows_of(one), rows_of(two)
    assert np.array_equal(features, np.stack([second[0], first[0], second[1], first[1], second[3]]))
    assert [row[:2] for row in csv_rows(tmp_path / "features.bad.csv")[1:]] == [["/y", "CORRUPT"], ["/x", "TRUNCATED"]]
    assert (tmp_path / "features.bad.csv").read_bytes() == (tmp_path / "features.dat.bad").read_bytes()
    manifest = pq.read_table(tmp_path / "manifest.parquet")
    assert manifest["uri"].to_pylist() == ["/a", "/b", "/y", "/c", "/d", "/x", "/e"]
    assert manifest["first_row"].to_pylist() == [0, 1, None, 2, 3, None, 4]


def test_what_was_merged_is_a_set_that_can_be_merged_into_its_own_place(store, tmp_path):
    names = [f"/{i}" for i in range(20)]
    listed = manifest_of(*map(good, names))
    merge_sets(
        store,
        look_up(listed, [a_set(store, *map(good, reversed(names)))], [], LIMITS),
        FACTS,
    )
    before = load_binary_feature(tmp_path)

    entries = pq.read_table(tmp_path / "manifest.parquet")
    rows = StoredEmbeddings.check(store, "features.dat", hash_file(tmp_path / "features.dat"), (20, D))
    merged = FeatureSet(entries.cast(make_entries_table([]).schema), FACTS, rows)
    fewer = manifest_of(*map(good, names[3:15]))
    merge_sets(store, look_up(fewer, [], [merged], LIMITS), FACTS)

    after = load_binary_feature(tmp_path)
    assert after[0] == names[3:15]
    assert np.array_equal(after[1], before[1][3:15])


def test_more_rows_than_a_block_are_merged_like_few(store, tmp_path, monkeypatch):
    names = [f"/{i}" for i in range(50)]
    listed = manifest_of(*map(good, names))
    known_ones = look_up(listed, [a_set(store, *map(good, names))], [], LIMITS)
    merge_sets(store, known_ones, FACTS)
    whole = (tmp_path / "features.dat").read_bytes()
    monkeypatch.setitem(merge_sets.__globals__["iter_embedding_blocks"].__globals__, "BYTES_PER_BLOCK", 7 * 4 * D)
    merge_sets(store, known_ones, FACTS)
    assert (tmp_path / "features.dat").read_bytes() == whole


# --- for users --------------------------------------------------------------------------------------------------------

NAMES = ["/a, b.jpg", '/"c".jpg', "/d\n.jpg", os.fsdecode(b"/\xe9.jpg")]


@pytest.mark.parametrize("d", [1, 8, 576, 1000])
def test_features_of_ones_own_come_back(tmp_path, d):
    rows = unit_rows(len(NAMES), d)
    save_binary_feature(tmp_path / "new", NAMES, rows)
    names, features = load_binary_feature(tmp_path / "new" / "features.dat")
    assert names == NAMES
    assert features.dtype == np.float32
    assert np.array_equal(features, rows)


@pytest.mark.parametrize("kind", [np.float64, np.float16, ">f4"])
def test_features_of_other_types_are_saved_as_float32(tmp_path, kind):
    rows = np.arange(len(NAMES) * 3).reshape(len(NAMES), 3).astype(kind)
    save_binary_feature(tmp_path, NAMES, rows)
    assert np.array_equal(load_binary_feature(tmp_path)[1], rows.astype(np.float32))


@pytest.mark.parametrize("shape", [(3, 5), (5, 5), (4,), (4, 5, 1)])
def test_features_that_do_not_fit_their_names_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="4, d"):
        save_binary_feature(tmp_path / "out", NAMES, np.zeros(shape))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_binary_feature(tmp_path, NAMES, unit_rows(len(NAMES), D))
    return tmp_path


def test_a_features_file_is_found_by_its_name_its_folder_or_without_either(saved, monkeypatch):
    monkeypatch.chdir(saved)
    monkeypatch.setenv("HOME", str(saved.parent))
    for found in (
        load_binary_feature(),
        load_binary_feature("features.dat"),
        load_binary_feature(saved),
        load_binary_feature(str(saved / "features.dat")),
        load_binary_feature(f"~/{saved.name}"),
        load_binary_features(saved),
        load_binary(saved),
    ):
        assert found[0] == NAMES
        assert found[1].shape == (len(NAMES), D)


def test_a_features_file_may_have_another_name(saved):
    for suffix in ("", ".csv"):
        (saved / f"features.dat{suffix}").rename(saved / f"mine.bin{suffix}")
    assert load_binary_feature(saved / "mine.bin")[0] == NAMES


@pytest.mark.parametrize("name", ["features.dat", "features.dat.csv"])
def test_a_features_file_that_is_not_there_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        load_binary_feature(saved)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features.dat", lambda data: data[:-1]),
        ("features.dat", lambda data: data + b"\0\0\0\0"),
        ("features.dat", lambda data: b""),
        ("features.dat.csv", lambda data: data[: data.index(b"3,")]),
        ("features.dat.csv", lambda data: b"index,filename\n"),
        ("features.dat.csv", lambda data: data.replace(b"index", b"number")),
        ("features.dat.csv", lambda data: data.replace(b"\n1,", b"\n7,")),
        ("features.dat.csv", lambda data: b""),
    ],
)
def test_a_features_file_that_does_not_fit_its_names_is_damaged(tmp_path, name, change):
    save_binary_feature(tmp_path, NAMES, unit_rows(len(NAMES), 5))
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedError, match="features"):
        load_binary_feature(tmp_path)


def test_no_features_come_back_as_none(tmp_path):
    save_binary_feature(tmp_path, [], np.empty((0, 576)))
    names, features = load_binary_feature(tmp_path)
    assert names == []
    assert len(features) == 0
