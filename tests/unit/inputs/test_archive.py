"""Pictures inside tar and zip archives: listed, read by themselves, and nothing believed that a hostile one says."""

import errno
import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError
from fastdup_ray.extract.read_file import read_once
from fastdup_ray.inputs import (
    archive,
    archive_limits,
    check_inputs,
    list_images,
    local,
    open_entry,
    read_entry,
    tar_archive,
)
from fastdup_ray.inputs.video import HEAD
from tests.helpers.archives import FILES, KINDS, add, pack
from tests.helpers.runs import deadline


def listed(location: object, **parameters: object) -> list[ImageRef]:
    with deadline(30):
        return list(list_images(RunConfig.of(input_dir=location, **parameters)))


def names(location: Path, **parameters: object) -> list[str]:
    """What is listed, from the archive's or the folder's own name on."""
    return [os.path.relpath(ref.uri, location.parent) for ref in listed(location, **parameters)]


def reason(ref: ImageRef) -> tuple[str, str]:
    with pytest.raises(BadImageError) as caught, deadline(30):
        read_entry(ref)
    return caught.value.code, caught.value.message


# --- whole ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_listed_in_the_order_of_the_archive_and_read(tmp_path, kind):
    shuffled = {name: FILES[name] for name in ("3.jpg", "0.jpg", "4.jpg", "1.jpg", "2.jpg")}
    path = pack(tmp_path / f"a{kind}", shuffled)
    refs = listed(path)
    assert [ref.uri for ref in refs] == [f"{path}!/{name}" for name in shuffled]
    assert [ref.size for ref in refs] == [len(data) for data in shuffled.values()]
    assert [read_entry(ref) for ref in refs] == list(shuffled.values())


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_read_in_any_order_and_more_than_once(tmp_path, kind):
    refs = listed(pack(tmp_path / f"a{kind}"))
    order = random.Random(0).choices(refs, k=30)
    assert [read_entry(ref) for ref in order] == [FILES[ref.uri.rpartition("!/")[2]] for ref in order]


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_read_by_its_name_alone(tmp_path, kind):
    path = pack(tmp_path / f"a{kind}")
    assert read_entry(ImageRef(f"{path}!/3.jpg", 0, "")) == FILES["3.jpg"]
    assert reason(ImageRef(f"{path}!/9.jpg", 0, ""))[0] == "MISSING"


def test_archives_in_a_folder_stand_where_their_names_do(tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.zip.jpg", "c.jpg", "sub/x.jpg"):
        (folder / name).write_bytes(b"x")
    pack(folder / "b.zip", {"x.jpg": b"1"})
    pack(folder / "sub" / "T.TAR".lower(), {"y.jpg": b"2"})
    expected = ["a.jpg", "b.zip!/x.jpg", "b.zip.jpg", "c.jpg", "sub/t.tar!/y.jpg", "sub/x.jpg"]
    assert names(folder) == [f"in/{name}" for name in expected]


@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_only_pictures_that_are_not_hidden_are_listed(tmp_path, kind):
    inside = ["a.txt", ".hidden.jpg", ".git/x.jpg", "a/.b/x.jpg", "__MACOSX/._x.jpg", "b/x.JPG", "nested.zip", "x.webp"]
    assert names(pack(tmp_path / f"a{kind}", dict.fromkeys(inside, b"x"))) == [f"a{kind}!/b/x.JPG", f"a{kind}!/x.webp"]


def test_list_files_name_members_and_whole_archives(tmp_path, monkeypatch):
    path = pack(tmp_path / "a.tar")
    (tmp_path / "list").write_text(f"{path}!/3.jpg\na.tar!/1.jpg\n{path}!/9.jpg\n{path}\n{path}!/3.jpg\n")
    monkeypatch.chdir(tmp_path)
    refs = listed(tmp_path / "list")
    assert [ref.uri.rpartition("!/")[2] for ref in refs] == ["3.jpg", "1.jpg", "9.jpg", "0.jpg", "2.jpg", "4.jpg"]
    assert read_entry(refs[0]) == FILES["3.jpg"]
    assert reason(refs[2])[0] == "MISSING"


def test_one_member_may_be_the_whole_input(tmp_path):
    path = pack(tmp_path / "a.zip")
    assert names(Path(f"{path}!/2.jpg"))
    check_inputs(RunConfig.of(input_dir=f"{path}!/2.jpg"))


def test_offsets_and_num_images_count_members(tmp_path):
    assert len(listed(pack(tmp_path / "a.tar"), num_images=3)) == 3


def test_of_members_with_one_name_the_last_counts(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for data in (b"old", b"newer", b"newest"):
            add(packed, "x.jpg", data)
    (ref,) = listed(tmp_path / "a.tar")
    assert read_entry(ref) == b"newest"


def test_a_thousand_members_of_a_compressed_tar_are_unpacked_once(tmp_path, monkeypatch):
    files = {f"{number:04d}.jpg": bytes([number % 256]) * 100 for number in range(1000)}
    refs = listed(pack(tmp_path / "a.tgz", files))
    opened = []

    class Counted(gzip.GzipFile):
        def __init__(self, **options: object):
            opened.append(options)
            super().__init__(**options)

    monkeypatch.setattr(tar_archive.gzip, "GzipFile", Counted)
    assert [read_entry(ref) for ref in refs] == list(files.values())
    assert len(opened) == 1


# --- names that mean something else -----------------------------------------------------------------------------------


def test_what_exists_under_the_whole_name_goes_before_an_archive(tmp_path):
    path = pack(tmp_path / "a.tar", {"x.jpg": b"inside"})
    (tmp_path / "a.tar!").mkdir()
    (tmp_path / "a.tar!" / "x.jpg").write_bytes(b"outside")
    assert read_entry(ImageRef(f"{path}!/x.jpg", 0, "")) == b"outside"
    uris = [os.path.relpath(ref.uri, tmp_path) for ref in listed(tmp_path)]
    assert uris == ["a.tar!/x.jpg"]


def test_exclamation_marks_mean_nothing_by_themselves(tmp_path):
    for name in ("wow!.jpg", "wow!/x.jpg", "no.tar!/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(os.fsencode(name))
    assert [read_entry(ref).decode() for ref in listed(tmp_path)] == ["no.tar!/y.jpg", "wow!.jpg", "wow!/x.jpg"]


def test_an_archive_in_a_folder_with_the_name_of_an_archive(tmp_path):
    (tmp_path / "a.zip!").mkdir()
    path = pack(tmp_path / "a.zip!" / "b.tar", {"d.zip!/x.jpg": b"deep"})
    (ref,) = listed(path)
    assert read_entry(ref) == b"deep"
    assert read_entry(ImageRef(ref.uri, 0, "")) == b"deep"


# --- hostile ones -----------------------------------------------------------------------------------------------------


def test_names_that_lead_out_of_the_archive_lead_nowhere(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    files = dict.fromkeys(
        ["../secret.jpg", f"{tmp_path}/secret.jpg", "./a//b/./x.jpg", "a/../../secret.jpg"], b"inside"
    )
    for kind in (".tar", ".zip"):
        refs = listed(pack(tmp_path / f"a{kind}", files))
        inner = [ref.uri.partition("!/")[2] for ref in refs]
        assert inner == [f"{tmp_path}/secret.jpg".lstrip("/"), "a/b/x.jpg"]
        assert [read_entry(ref) for ref in refs] == [b"inside", b"inside"]


def test_links_and_devices_are_left_out(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        add(packed, "link.jpg", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.jpg"))
        add(packed, "hard.jpg", type=tarfile.LNKTYPE, linkname="/etc/passwd")
        add(packed, "null.jpg", type=tarfile.CHRTYPE)
        add(packed, "pipe.jpg", type=tarfile.FIFOTYPE)
        add(packed, "folder.jpg", type=tarfile.DIRTYPE)
        add(packed, "good.jpg", b"good")
    assert names(tmp_path / "a.tar") == ["a.tar!/good.jpg"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, str(tmp_path / "secret.jpg"))
        packed.writestr("folder.jpg/", b"")
        packed.writestr("good.jpg", b"good")
    assert names(tmp_path / "a.zip") == ["a.zip!/good.jpg"]


def test_a_zip_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path):
    path = pack(tmp_path / "a.zip", {"bomb.jpg": bytes(50 << 20)})
    data = path.read_bytes()
    assert len(data) < 1 << 20
    size = struct.pack("<L", 50 << 20)
    path.write_bytes(data.replace(size, struct.pack("<L", 10)))
    (ref,) = listed(path)
    assert ref.size == 10
    assert reason(ref)[0] == "CORRUPT"


def test_a_member_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_limits, "MAX_MEMBER", 1000)
    for kind in (".tar", ".zip"):
        small, large = listed(pack(tmp_path / f"a{kind}", {"small.jpg": b"x" * 1000, "large.jpg": b"x" * 1001}))
        assert len(read_entry(small)) == 1000
        assert reason(large)[0] == "TOO_LARGE"


def test_a_compressed_tar_that_unpacks_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_limits, "MAX_MEMBER", 1 << 20)
    path = pack(tmp_path / "a.tgz", {"a.jpg": b"good", "bomb.bin": bytes(64 << 20), "z.jpg": b"never reached"})
    good, bomb = listed(path)
    assert read_entry(good) == b"good"
    assert bomb.uri == str(path)
    assert reason(bomb)[0] == "TOO_LARGE"


def tar_header(kind: bytes, size: int) -> bytes:
    """The header of a tar's file that says any size."""
    header = bytearray(tarfile.TarInfo("lie.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size % (1 << 96) | 1 << 95).to_bytes(12, "big")
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [100 << 30, 1 << 63, 1 << 70, -1])
def test_a_tar_that_says_impossible_sizes_is_bad_and_what_comes_before_is_good(tmp_path, kind, size):
    whole = pack(tmp_path / "a.tar", {"good.jpg": b"good"}).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:1024] + tar_header(kind, size) + bytes(2048))
    good, *bad = listed(tmp_path / "a.tar")
    assert read_entry(good) == b"good"
    assert bad
    for ref in bad:
        assert ref.size < 1 << 63
        assert reason(ref)[0] in ("CORRUPT", "TOO_LARGE")


def test_a_header_that_unpacks_to_gigabytes_is_not_read(tmp_path):
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as packed:
        packed.write(tar_header(tarfile.XHDTYPE, 100 << 20))
        for _ in range(100):
            packed.write(bytes(1 << 20))
    tracemalloc.start()
    (ref,) = listed(tmp_path / "a.tgz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reason(ref)[0] == "CORRUPT"
    assert peak < 20 << 20


@pytest.mark.parametrize("fact", ["file_size", "compress_size", "header_offset"])
@pytest.mark.parametrize("number", [1 << 40, (1 << 63) - 1, 1 << 63])
def test_a_zip_that_says_impossible_sizes_is_bad(tmp_path, fact, number):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("good.jpg", b"good")
        packed.writestr("lie.jpg", b"lie")
        setattr(packed.filelist[1], fact, number)
    for ref in listed(tmp_path / "a.zip"):
        if ref.uri.endswith("good.jpg"):
            assert read_entry(ref) == b"good"
        else:
            assert ref.size < 1 << 63
            assert reason(ref)[0] in ("CORRUPT", "TOO_LARGE")


@pytest.mark.parametrize("kind", [".bmp", ".tar", ".tgz", ".zip"])
def test_a_member_is_in_memory_once(tmp_path, kind):
    data = random.Random(0).randbytes(20 << 20)
    path = tmp_path / f"a{kind}"
    if kind == ".bmp":
        path.write_bytes(data)
    else:
        pack(path, {"a.bmp": data})
    (ref,) = listed(path)
    tracemalloc.start()
    with open_entry(ref) as file:
        file.read(HEAD)
        assert read_once(file) == data
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * len(data)


def test_an_encrypted_zip_is_not_supported(tmp_path):
    path = pack(tmp_path / "a.zip", {"x.jpg": b"x"})
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + place] |= 1
    path.write_bytes(data)
    (ref,) = listed(path)
    assert reason(ref) == ("UNSUPPORTED", "it is encrypted")


def zip_of_one_file_many_times(path: Path, count: int, size: int, shift: int = 0) -> None:
    """A zip whose list has `count` entries for the bytes of its only file; each begins `shift` bytes later."""
    pack(path, {"bomb.jpg": bytes(size)})
    with zipfile.ZipFile(path) as packed:
        info, data = packed.infolist()[0], path.read_bytes()[: packed.start_dir]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.fp.write(data)
        packed.start_dir = packed.fp.tell()
        for number in range(count):
            entry = zipfile.ZipInfo(f"{number}.jpg")
            entry.compress_type, entry.CRC = info.compress_type, info.CRC
            entry.file_size, entry.compress_size = info.file_size, info.compress_size
            entry.header_offset = number * shift
            packed.filelist.append(entry)
        packed._didModify = True


@pytest.mark.parametrize("shift", [0, 40])
def test_a_zip_whose_files_overlap_is_refused_before_any_is_unpacked(tmp_path, shift):
    zip_of_one_file_many_times(tmp_path / "a.zip", 300, 20 << 20, shift)
    refs = listed(tmp_path / "a.zip")
    assert [ref.uri for ref in refs] == [str(tmp_path / "a.zip")]
    with pytest.raises(BadImageError) as caught:
        read_entry(refs[0])
    assert caught.value.code == "CORRUPT"


def test_a_zip_that_unpacks_to_too_much_in_all_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_limits, "MAX_MEMBER", 1 << 20)
    pack(tmp_path / "a.zip", {f"{number}.jpg": bytes(1 << 20) for number in range(3)})
    (ref,) = listed(tmp_path / "a.zip")
    with pytest.raises(BadImageError) as caught:
        read_entry(ref)
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_another_way_is_not_supported(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as packed:
        packed.writestr("x.jpg", b"x" * 100)
    (ref,) = listed(tmp_path / "a.zip")
    assert reason(ref)[0] == "UNSUPPORTED"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.8])
def test_of_a_cut_archive_what_can_be_had_is_had(tmp_path, kind, part):
    rng = random.Random(0)
    files = {f"{number}.jpg": rng.randbytes(20_000) for number in range(5)}
    path = pack(tmp_path / f"a{kind}", files)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    *members, last = listed(path)
    assert last.uri == str(path)
    assert reason(last)[0] in ("TRUNCATED", "ZERO_SIZE", "CORRUPT")
    for number, ref in enumerate(members[:-1]):
        assert read_entry(ref) == files[f"{number}.jpg"]
    if kind == ".tar" and part == 0.5:
        assert len(members) == 3
        assert reason(members[2])[0] == "TRUNCATED"


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_ends_in_a_reason(tmp_path, kind):
    whole = pack(tmp_path / f"a{kind}").read_bytes()
    rng = random.Random(kind)
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / f"b{kind}"
        path.write_bytes(data)
        for ref in listed(path):
            with deadline(30):
                try:
                    read_entry(ref)
                except BadImageError as error:
                    assert error.message


def test_a_broken_header_in_the_midst_of_a_tar_is_told(tmp_path):
    path = pack(tmp_path / "a.tar", {"a.jpg": b"a", "b.jpg": b"b", "c.jpg": b"c"})
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF
    path.write_bytes(data)
    *members, broken = listed(path)
    assert [read_entry(ref) for ref in members] == [b"a"]
    assert reason(broken) == ("CORRUPT", "the archive is broken from byte 1024 on")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"text\n" * 300, b"\xff\xd8\xff\xe0" + bytes(2000), b"PK\3\4" + b"x" * 900])
def test_what_is_no_archive_is_a_bad_entry(tmp_path, kind, content):
    path = tmp_path / f"a{kind}"
    path.write_bytes(content)
    (ref,) = listed(path)
    assert (ref.uri, bool(reason(ref)[1])) == (str(path), True)


def test_a_corrupt_member_is_bad_and_its_neighbours_are_good(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name, data in FILES.items():
            packed.writestr(name, data)
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"content 2", b"kontent 2", 1))
    refs = listed(tmp_path / "a.zip")
    assert reason(refs[2])[0] == "CORRUPT"
    assert read_entry(refs[3]) == FILES["3.jpg"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_changes_after_it_was_listed(tmp_path, kind):
    path = pack(tmp_path / f"a{kind}")
    refs = listed(path)
    assert read_entry(refs[0]) == FILES["0.jpg"]
    pack(path, FILES | {"more.jpg": b"more"})
    os.utime(path, ns=(1, 1))
    assert reason(refs[1])[0] == "CHANGED"
    path.unlink()
    assert reason(refs[1])[0] == "MISSING"


class FailingFile(io.FileIO):
    """A file on a disk that fails from some byte on."""

    def readinto(self, buffer):
        return self.readall() if self.tell() >= io.DEFAULT_BUFFER_SIZE else super().readinto(buffer)

    def readall(self):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_listed_again_after_the_disk_failed(tmp_path, monkeypatch, kind):
    files = {f"{number}.jpg": random.Random(number).randbytes(100_000) for number in range(2)}
    path = pack(tmp_path / f"a{kind}", files)
    with monkeypatch.context() as failing:
        failing.setattr(local, "open_regular", lambda name: io.BufferedReader(FailingFile(name)))
        *_, broken = listed(path)
        assert broken.uri == str(path)
        assert reason(broken)[0] == "READ_FAILED"
    archive._read_index.cache_clear()  # of a process, as the next run is one of its own
    assert [read_entry(ref) for ref in listed(path)] == list(files.values())


def test_a_missing_archive_is_missing(tmp_path):
    (tmp_path / "list").write_text(f"{tmp_path}/gone.tar\n{tmp_path}/gone.tar!/x.jpg\n")
    assert [reason(ref)[0] for ref in listed(tmp_path / "list")] == ["MISSING", "MISSING"]


# --- whole runs -------------------------------------------------------------------------------------------------------
