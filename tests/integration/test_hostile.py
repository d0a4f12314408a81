"""Files made to hurt: Pillow's own test images, 2,000 mutated pictures, bombs, and plugins that do anything at all."""

import io
import os
import random
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from pathlib import Path

import PIL
import psutil
import pytest
from PIL import Image, ImageFile, features

from fastdup_ray.extract import fast_decoders
from tests.checker import check
from tests.helpers.commands import run, start, summary_of, workers
from tests.helpers.images import encode, save_cloudy
from tests.helpers.mutants import mutated
from tests.helpers.runs import PHOTOS, csv_rows, run_inline
from tests.helpers.verdicts import pillows_verdict_of, verdict_of


def bad_of(work_dir: Path) -> dict[str, str]:
    """Base name -> code."""
    return {os.path.basename(name): code for name, code, _ in csv_rows(work_dir / "features.bad.csv")[1:]}


# --- Pillow's own test images -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pillow_images(tmp_path_factory) -> Path:
    """A list of all files in `Tests/images` of the source package of the Pillow that is installed."""
    folder = tmp_path_factory.mktemp("pillow")
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "pillow", "-d", str(folder)]
    try:
        done = subprocess.run([*download, f"pillow=={PIL.__version__}"], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index did not answer in 5 minutes")
    packages = list(folder.glob("*.tar.gz"))
    if not packages:
        pytest.skip(f"Pillow's source package cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    with tarfile.open(packages[0]) as package:
        members = [member for member in package if "/Tests/images/" in member.name]
        package.extractall(folder, members, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    names = sorted(str(path) for path in folder.glob("*/Tests/images/**/*") if path.is_file())
    listed = folder / "list.txt"
    listed.write_text("".join(f"{name}\n" for name in names))
    return listed


@pytest.mark.slow
def test_each_of_pillows_own_test_images_is_good_or_bad_with_a_reason(pillow_images, tmp_path, ray_session):
    names = pillow_images.read_text().splitlines()
    assert len(names) > 500
    out = tmp_path / "out"
    options = ("--image-timeout", 30, "--actor-memory", 1024)
    done = run(pillow_images, "--work-dir", out, *options, RAY_ADDRESS=ray_session)
    assert done.returncode == 0, done.stderr
    assert check(out) == []
    bad = {name: (code, message) for name, code, message in csv_rows(out / "features.bad.csv")[1:]}
    good = {name for _, name in csv_rows(out / "features.dat.csv")[1:]}
    told = {name.partition("!/")[0] for name in good | set(bad)}  # one of them is an archive
    assert told == set(names)
    assert not good & set(bad)
    # Nothing in there takes a decoder down; each of them once did, in some version of Pillow.
    assert not [name for name, (code, _) in bad.items() if code in ("CRASHED", "TIMEOUT", "READ_FAILED", "MISSING")]
    assert len(good) > len(names) / 2


@pytest.mark.slow
def test_the_fast_decoders_have_pillows_verdict_on_each_of_its_png_and_webp_images(pillow_images, monkeypatch):
    monkeypatch.setattr(fast_decoders, "MIN_WEBP_PIXELS", 0)
    files = {name: Path(name).read_bytes() for name in pillow_images.read_text().splitlines()}
    mine = {name: data for name, data in files.items() if data[:4] in (b"\x89PNG", b"RIFF")}
    assert len(mine) > 300
    assert [name for name, data in mine.items() if verdict_of(data) != pillows_verdict_of(data)] == []


# --- fuzz -------------------------------------------------------------------------------------------------------------

FORMATS = {
    "jpg": ("JPEG", {}),
    "jpeg": (
        "JPEG",
        {"progressive": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0"},
    ),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff": ("TIFF", {}),
    "bmp": ("BMP", {}),
    "jp2": ("JPEG2000", {}),
    "avif": ("AVIF", {}),
    "ico": ("ICO", {}),
    "psd": ("TGA", {"compression": "tga_rle"}),  # and a name that lies
}
MUTANTS = 2000


def small_files() -> list[tuple[str, bytes]]:
    """Suffix and content of small copies of the photos, in each format that this Pillow can write."""
    files = []
    for place, path in enumerate(sorted((PHOTOS / "originals").iterdir())[:8]):
        with Image.open(path) as photo:
            small = photo.convert("RGB")
        small.thumbnail((72, 72))
        for suffix, (format, options) in FORMATS.items():
            try:
                files.append((suffix, encode(small.quantize(32) if place % 4 == 3 else small, format, **options)))
            except (OSError, KeyError, ValueError):
                continue  # not this one in this mode
    return files


@pytest.mark.slow
def test_a_run_over_2000_mutated_pictures_ends_well(tmp_path, ray_session):
    folder, files, draw = tmp_path / "mutants", small_files(), random.Random(5)
    folder.mkdir()
    names = []
    for number in range(MUTANTS):
        suffix, data = mutated(draw, files)
        names.append(folder / f"{number:04d}.{suffix}")
        names[-1].write_bytes(data)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{name}\n" for name in names))
    out = tmp_path / "out"
    options = ("--actor-memory", 1024, "--image-timeout", 20, "--no-report")
    done = run(listed, "--work-dir", out, *options, RAY_ADDRESS=ray_session)
    assert done.returncode == 0, done.stderr
    assert check(out) == []
    counts = summary_of(out)["counts"]
    assert counts["images"] + counts["bad"] == MUTANTS
    assert counts["images"] > 100
    assert counts["bad"] > 100


# --- bombs ------------------------------------------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel: one byte of it makes about eight thousand pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, rows = zlib.compressobj(9), bytes(width // 8 + 1) * 500
    data = b"".join(packer.compress(rows) for _ in range(height // 500)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def ico_of(png: bytes) -> bytes:
    """An icon that says 256 × 256 of whatever is in it."""
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(png), 22) + png


def icns_of(png: bytes) -> bytes:
    """The same for a Mac."""
    return b"icns" + struct.pack(">I", 16 + len(png)) + b"ic08" + struct.pack(">I", 8 + len(png)) + png


LIES = [
    ("lie.jp2", "JPEG2000", b"ihdr", 4, struct.pack(">II", 65_535, 65_535)),
    ("lie.tif", "TIFF", struct.pack("<HHI", 256, 4, 1), 8, struct.pack("<I", 2_000_000_000)),
]
"""Name, format, and where the header has the size of the image."""

if features.check("avif"):
    LIES.append(("lie.avif", "AVIF", b"ispe", 8, struct.pack(">II", 65_535, 65_535)))


@pytest.fixture(scope="module")
def bombs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    save_cloudy(folder, 4)
    bomb = png_of(50_000, 50_000)
    (folder / "bomb.png").write_bytes(bomb)
    (folder / "bomb.ico").write_bytes(ico_of(bomb))
    (folder / "bomb.icns").write_bytes(icns_of(bomb))
    lie = bytearray(encode(Image.new("P", (9, 9)), "GIF"))
    lie[6:10] = struct.pack("<HH", 65_535, 65_535)
    (folder / "lie.gif").write_bytes(lie)
    lie = bytearray(encode(Image.new("RGB", (9, 9)), "BMP"))
    lie[18:26] = struct.pack("<ii", 2_000_000_000, 2)
    (folder / "lie.bmp").write_bytes(lie)
    for name, kind, tag, skip, size in LIES:
        lie = bytearray(encode(Image.new("RGB", (64, 64)), kind))
        place = lie.index(tag) + skip
        lie[place : place + len(size)] = size
        (folder / name).write_bytes(lie)
    (folder / "lie.ppm").write_bytes(b"P6 4000000000 4000000000 255\n" + bytes(100))
    return folder


def test_bombs_are_too_large_and_take_no_memory(bombs, tmp_path):
    listed = [str(path) for path in sorted(bombs.iterdir())]
    before = psutil.Process().memory_info().rss
    begin = time.monotonic()
    result = run_inline(listed, tmp_path / "out", report=False)
    assert time.monotonic() - begin < 30
    assert psutil.Process().memory_info().rss - before < 300 << 20
    assert result.counts["images"] == 4
    assert bad_of(tmp_path / "out") == {
        "bomb.icns": "TOO_LARGE",
        "bomb.ico": "TOO_LARGE",
        "bomb.png": "TOO_LARGE",
        "lie.bmp": "TOO_LARGE",
        "lie.gif": "TOO_LARGE",
        **{name: "TOO_LARGE" for name, *_ in LIES},
        "lie.ppm": "CORRUPT",
    }
    sizes = {row["uri"].rpartition("/")[2]: (row["width"], row["height"]) for row in manifest_rows(tmp_path / "out")}
    assert sizes["bomb.png"] == sizes["bomb.ico"] == (50_000, 50_000)


def manifest_rows(work_dir: Path) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(work_dir / "manifest.parquet").to_pylist()


# --- plugins that do anything at all ----------------------------------------------------------------------------------


def deep(n: int = 0) -> int:
    return deep(n + 1) + 1


def raiser(error: BaseException):
    def act() -> None:
        raise error

    return act


ACTS = {
    "runtime": raiser(RuntimeError("anything\n at all \x00 \udc80 " + "and long " * 1000)),
    "recursion": deep,
    "exit": raiser(SystemExit(3)),
    "interrupt": raiser(KeyboardInterrupt()),
    "generator": raiser(GeneratorExit()),
    "memory": raiser(MemoryError()),
    "nothing": raiser(Exception()),
    "group": raiser(BaseExceptionGroup("several", [SystemExit(1), ValueError("x")])),
}


class Harmful(ImageFile.ImageFile):
    format = "HARMFUL"

    def _open(self):
        self._size, self._mode = (64, 64), "RGB"
        act = ACTS[self.fp.read(64)[9:].decode()]
        if self.fp.seek(8) and self.fp.read(1) == b"o":
            act()
        self.act = act

    def load(self):
        self.act()


@pytest.fixture
def harmful_plugin():
    Image.init()
    Image.register_open("HARMFUL", Harmful, lambda prefix: prefix.startswith(b"HARMFUL!"))
    yield
    Image.ID.remove("HARMFUL")
    del Image.OPEN["HARMFUL"]


def test_whatever_a_plugin_raises_makes_its_picture_bad_and_the_run_goes_on(harmful_plugin, tmp_path):
    folder = tmp_path / "in"
    save_cloudy(folder, 3)
    for act in ACTS:
        for when in "ol":  # as it is opened, as it is loaded
            (folder / f"{act} {when}.png").write_bytes(b"HARMFUL!" + when.encode() + act.encode())
    result = run_inline(folder, tmp_path / "out")
    assert result.counts["images"] == 3
    bad = bad_of(tmp_path / "out")
    assert len(bad) == 2 * len(ACTS)
    assert {name: code for name, code in bad.items() if code != "CORRUPT"} == {
        "memory o.png": "OUT_OF_MEMORY",
        "memory l.png": "OUT_OF_MEMORY",
    }
    assert check(tmp_path / "out", folder) == []


HOLDER = """
import ctypes, faulthandler
from PIL import Image, ImageFile

dump = faulthandler.dump_traceback_later  # the watchdog waits for eleven seconds; here for a third of them
faulthandler.dump_traceback_later = lambda limit, **options: dump(limit / 3, **options)

class Holder(ImageFile.ImageFile):
    format = "HOLDER"
    def _open(self):
        ctypes.PyDLL(None).sleep(3600)  # as an extension in C that never lets Python's lock go

Image.register_open("HOLDER", Holder, lambda prefix: prefix.startswith(b"HOLDER!!"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", "local"])
def test_a_decoder_that_holds_pythons_lock_for_ever_costs_its_own_picture_only(tmp_path, executor):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin/sitecustomize.py").write_text(HOLDER)
    folder = tmp_path / "in"
    save_cloudy(folder, 6)
    (folder / "0003 holder.jpg").write_bytes(b"HOLDER!!")
    options = ("--image-timeout", 1, "--num-threads", 1, "--shard-size", 1, "--no-report")
    environment = {"PYTHONPATH": str(tmp_path / "plugin")}
    done = run(folder, "--work-dir", tmp_path / "out", *options, "--executor", executor, **environment)
    assert done.returncode == 0, done.stderr
    assert bad_of(tmp_path / "out") == {"0003 holder.jpg": "CRASHED"}
    assert summary_of(tmp_path / "out")["counts"]["images"] == 6


# --- memory -----------------------------------------------------------------------------------------------------------


class Peak(threading.Thread):
    """The most memory that an extract actor had, in MiB, as the kernel keeps it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.mib, self._over = 0, threading.Event()

    def run(self):
        while not self._over.wait(0.1):
            for process in workers("ExtractActor"):
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                except OSError:
                    continue
                self.mib = max(self.mib, *(int(x.split()[1]) >> 10 for x in status.splitlines() if "VmHWM" in x), 0)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self._over.set()
        self.join()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is bounded on Linux only")
def test_the_memory_of_an_actor_stays_under_its_limit(tmp_path, ray_session):
    limit = 256
    folder = tmp_path / "in"
    save_cloudy(folder, 40)
    peaks = []
    for turn in range(2):
        with Peak() as peak:
            process = start(
                *(folder, "--work-dir", tmp_path / f"out{turn}", "--actor-memory", limit, "--no-report"),
                RAY_ADDRESS=ray_session,
            )
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        peaks.append(peak.mib)
        huge = encode(Image.new("RGBA", (9_000, 9_000)), "PNG", compress_level=1)  # 324 MB, once it is decoded
        for number in range(2):
            (folder / f"huge{number}.png").write_bytes(huge)
    usual, peak = peaks
    assert usual > 0
    assert peak <= usual + limit + 32
    assert set(bad_of(tmp_path / "out1").values()) == {"OUT_OF_MEMORY"}
    assert summary_of(tmp_path / "out1")["counts"] | {"images": 40, "bad": 2} == summary_of(tmp_path / "out1")["counts"]


def test_a_picture_for_each_mode_and_a_huge_exif_is_good(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as photo:
        photo.thumbnail((96, 96))
        for format, modes in {
            "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"),
            "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
            "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
            "GIF": ("1", "L", "P"),
        }.items():
            for mode in modes:
                if (format, mode) == ("TIFF", "YCbCr") and int(PIL.__version__.split(".")[0]) < 13:
                    continue  # Pillow before 13 does not read what it writes
                photo.convert("L" if mode == "I;16" else "RGB").convert(mode).save(folder / f"{mode}.{format}", format)
        for name, exif in {
            "huge": b"Exif\0\0" + b"\xff" * 65_000,
            "wrong": b"Exif\0\0II*\0\xff\xff\xff\xff",
            "none": b"",
        }.items():
            photo.save(folder / f"{name}.jpeg", "JPEG", exif=exif)
        buffer = io.BytesIO()
        photo.save(buffer, "PNG", icc_profile=os.urandom(3 << 20))
        (folder / "profile.png").write_bytes(buffer.getvalue())
    run_inline([str(path) for path in sorted(folder.iterdir())], tmp_path / "out", report=False)
    assert csv_rows(tmp_path / "out" / "features.bad.csv")[1:] == []
