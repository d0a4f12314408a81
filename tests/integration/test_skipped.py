"""What a folder or an archive holds and a run leaves out: other suffixes, systems' own folders, our outputs."""

import json
import os
import struct
from pathlib import Path

import pytest
from PIL import Image

import fastdup_ray as fastdup
from fastdup_ray import RunConfig
from fastdup_ray.common.records import Limits
from fastdup_ray.errors import InputError, WorkDirError
from fastdup_ray.extract.decode import decode_bytes
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs import SkippedFiles, describe_skipped, list_images
from fastdup_ray.inputs.suffixes import IMAGE_SUFFIXES
from fastdup_ray.runs.preflight import list_manifest as listed_or_refused
from tests.helpers.archives import pack
from tests.helpers.images import cloudy, encode, save_cloudy
from tests.helpers.listing import below, make
from tests.helpers.runs import csv_rows, outputs, run_inline


def counts(location: object, **parameters: object) -> dict[str, int]:
    """Of the files that are skipped."""
    skipped = SkippedFiles()
    list(list_images(RunConfig.of(input_dir=location, **parameters), skipped))
    return skipped.counts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


# --- suffixes ---------------------------------------------------------------------------------------------------------


def cur(image: Image.Image) -> bytes:
    data = bytearray(encode(image.resize((32, 32)), "ICO", sizes=[(32, 32)], bitmap_format="bmp"))
    data[2] = 2  # a cursor, whose entry has its hot spot where an icon's has its depth
    struct.pack_into("<HH", data, 10, 0, 0)
    return bytes(data)


WRITTEN = {
    ".apng": lambda image: encode(image, "PNG", save_all=True, append_images=[cloudy(1)]),
    ".jif": lambda image: encode(image, "JPEG"),
    ".j2c": lambda image: encode(image, "JPEG2000", no_jp2=True),
    ".jpc": lambda image: encode(image, "JPEG2000", no_jp2=True),
    ".avifs": lambda image: encode(image, "AVIF", save_all=True, append_images=[cloudy(1)]),
    ".blp": lambda image: encode(image.quantize(), "BLP"),
    ".cur": cur,
    ".dds": lambda image: encode(image, "DDS"),
    ".icns": lambda image: encode(image.resize((64, 64)), "ICNS"),
    ".pfm": lambda image: encode(image.convert("F"), "PPM"),
    ".qoi": lambda image: encode(image, "QOI"),
    ".sgi": lambda image: encode(image, "SGI"),
    ".rgb": lambda image: encode(image, "SGI"),
    ".vda": lambda image: encode(image, "TGA"),
    ".xbm": lambda image: encode(image.convert("1"), "XBM"),
}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_can_be_read_is_taken_from_folders(folder, suffix):
    if WRITTEN[suffix] is not cur and (format := Image.registered_extensions().get(suffix)) not in {*Image.SAVE, None}:
        pytest.skip(f"this Pillow writes no {format}")
    data = WRITTEN[suffix](cloudy(0))
    (folder / f"x{suffix}").write_bytes(data)
    pack(folder / "y.zip", {f"x{suffix}": data})
    assert below(folder) == [f"x{suffix}", f"y.zip!/x{suffix}"]
    with strict_pillow(1 << 24):
        assert decode_bytes(data, (64, 64), Limits(1 << 24)).pixels.shape == (64, 64, 3)


def test_a_suffix_that_pillow_knows_is_taken_or_left_out_on_purpose():
    """A new one of Pillow's has to be put on one of the two sides."""
    Image.init()
    left_out = set(Image.registered_extensions()) - IMAGE_SUFFIXES
    assert left_out <= {
        *(".eps", ".ps", ".pdf", ".wmf", ".emf"),
        *(".fit", ".fits", ".grib", ".bufr", ".h5", ".hdf", ".spi"),
        *(".bw", ".msp", ".vst", ".im", ".iim", ".gbr", ".pxr", ".ftc", ".ftu", ".fli", ".flc", ".palm"),
        *(".mpeg", ".mpg"),  # videos
    }


def test_comics_are_archives(folder):
    pack(folder / "a.zip", {"1.jpg": b"x"}).rename(folder / "a.cbz")
    assert below(folder) == ["a.cbz!/1.jpg"]


def test_what_is_skipped_for_its_suffix_is_counted(folder):
    make(folder, "1.jpg", "a.SVG", "sub/b.svg", "c.xcf", "readme", "x.tar.zst", "2024.01")
    pack(folder / "p.zip", {"1.jpg": b"x", "d.xcf": b"x", "notes.txt": b"x"})
    assert counts(folder) == {".svg": 2, ".xcf": 2, "no suffix": 2, ".zst": 1}
    assert counts(folder, exclude=["sub", "*.xcf", "p.zip"]) == {"no suffix": 2, ".svg": 1, ".zst": 1}


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a.json", "a.xmp", "labels.csv", "Thumbs.db", "desktop.ini", ".hidden.svg", ".git/x.svg", "._x.svg"],
)
def test_captions_labels_and_what_systems_write_are_not_counted(folder, name):
    make(folder, "1.jpg", name)
    assert counts(folder) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "__MACOSX/1.jpg", "$RECYCLE.BIN/1.jpg", "#recycle/1.jpg"),
        *("Photos Previews.lrdata/A/1.jpg", "sub/@eaDir/x.svg"),
    ],
)
def test_folders_of_systems_are_left_out_unless_they_are_named(folder, name):
    make(folder, "2.jpg", name)
    pack(folder / "a.zip", {"3.jpg": b"x", name: b"x"})
    assert below(folder) == ["2.jpg", "a.zip!/3.jpg"]
    assert counts(folder) == {}
    assert len(below((folder / name).parent)) + sum(counts((folder / name).parent).values()) == 1


def test_the_sentence_names_the_most_frequent_suffixes():
    assert describe_skipped({}) == ""
    assert describe_skipped({".xcf": 1}) == "1 file skipped: .xcf 1 (unsupported suffix)"
    many = dict.fromkeys((f".x{n}" for n in range(9)), 1000)
    assert describe_skipped(many).startswith("9,000 files skipped: .x0 1,000, ")
    assert describe_skipped(many).endswith(".x4 1,000, and 4,000 others (unsupported suffix)")


def test_memory_does_not_grow_with_the_number_of_suffixes():
    skipped = SkippedFiles()
    for n in range(5000):
        skipped.add(f"x.a{n}")
    assert len(skipped.counts()) <= 1001
    assert sum(skipped.counts().values()) == 5000


def test_where_nothing_is_taken_the_error_says_what_was_skipped(folder):
    make(folder, "a.svg", "b.svg", "c.xcf")
    with pytest.raises(InputError, match=r"No images in .*: 3 files skipped: \.svg 2, \.xcf 1"):
        listed_or_refused(RunConfig.of(input_dir=folder))


def test_the_end_of_a_run_says_what_was_skipped(folder, tmp_path, capsys):
    save_cloudy(folder, 1)
    make(folder, "a.svg", "b.xcf")
    options = {"executor": "inline", "report": False}
    assert fastdup.run(folder, tmp_path / "out", **options) == 0
    assert "2 files skipped: .svg 1, .xcf 1" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"] == {".svg": 1, ".xcf": 1}
    assert fastdup.run(folder, tmp_path / "out", log_format="json", **options) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"] == {".svg": 1, ".xcf": 1}


# --- the work_dir as an input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["none", "input", "work_dir"])
def test_the_work_dir_itself_is_read_but_for_what_runs_write(folder, tmp_path, monkeypatch, link):
    monkeypatch.chdir(folder)
    (tmp_path / "link").symlink_to(folder)
    source = tmp_path / "link" if link == "input" else "."
    work_dir = tmp_path / "link" if link == "work_dir" else "."
    save_cloudy(folder, 3)
    save_cloudy(folder / "report", 1)
    first = run_inline(source, work_dir, incremental=True)
    assert first.counts["images"] == 4
    before = outputs(folder)
    fastdup.create_duplicates_gallery(folder / "similarity.csv", save_path=folder)
    again = run_inline(source, work_dir)
    assert (again.summary["read"], again.counts["entries"], again.summary["skipped"]) == (0, 4, {})
    assert outputs(folder) == before


@pytest.mark.parametrize("source", ["photos", "out", "out/sub"])
def test_an_input_below_the_work_dir_is_read(folder, source):
    make(folder, f"{source}/1.jpg", "2.jpg")
    assert below(folder / source, work_dir=folder) == ["1.jpg"]
    assert below(folder, work_dir=folder / source) == ["2.jpg"]


def test_a_folder_of_the_users_own_with_the_name_of_the_shards_is_never_removed(folder, monkeypatch):
    save_cloudy(folder / "images", 1)
    make(folder, "shards/000.tar", ".tmp-mine.jpg")
    with pytest.raises(WorkDirError, match=r"shards/000\.tar"):
        run_inline(folder / "images", folder)
    (folder / "shards").rename(folder / "tars")
    run_inline(folder / "images", folder, report=False)
    assert (folder / "tars" / "000.tar").exists()
    assert (folder / ".tmp-mine.jpg").exists()
    assert len(csv_rows(folder / "features.dat.csv")) == 2


def test_shards_of_a_run_that_was_stopped_are_no_folder_of_the_users(folder, tmp_path):
    save_cloudy(folder, 2)
    out = tmp_path / "out"
    for name in ("features-000000000000-000000000001-0.dat", "partitions/x", "search/x", "earlier/x", ".tmp-x"):
        make(out / "shards", name)
    for name in ("earlier.json", "merged.json", "manifest.parquet", "neighbors"):
        make(out / "test_shards", name)
    run_inline(folder, out, report=False)
    assert not os.path.exists(out / "shards")
