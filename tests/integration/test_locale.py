"""Whatever the locale is, the same names, the same bytes, and never a `UnicodeError`."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.helpers.runs import PHOTOS, SAME_BYTES

ACCENT = "é.jpg".encode()
NAMES = [ACCENT, b"two\nlines.jpg", b"\xff\xfe.jpg", "日本.jpg".encode(), b"plain.jpg"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

LIBRARY = """
import os, sys
import fastdup_ray
names = dict(input_dir="../list", reference=[os.fsdecode(b"\\xc3\\xa9.jpg")], labels="../labels.csv")
sys.exit(fastdup_ray.run(**names, work_dir=sys.argv[1], executor="inline", report=False))
"""


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"]
    if shutil.which("localedef") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no localedef, or no sources of locales")
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"}


@pytest.fixture(params=["latin-1", "ascii"])
def locale(request: pytest.FixtureRequest) -> dict[str, str]:
    return ASCII if request.param == "ascii" else request.getfixturevalue("latin_1")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images, one of them in an archive, and beside it a list and labels of some."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, photo in zip(NAMES, sorted((PHOTOS / "phone").iterdir()), strict=False):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(photo.read_bytes())
    with tarfile.open(folder / "some.tar", "w") as archive:
        for name in (ACCENT, b"\xff\xfe.jpg"):
            archive.add(os.path.join(os.fsencode(folder), name).decode("utf-8", "surrogateescape"), os.fsdecode(name))
    (tmp_path / "list").write_bytes(b"\n".join(name for name in [*NAMES, b"some.tar"] if b"\n" not in name))
    (tmp_path / "labels.csv").write_text("filename,label\nimages/é.jpg,été\nimages/日本.jpg,plain\n", encoding="utf-8")
    return folder


def python(*words: object, cwd: Path, locale: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PHOTOS.parents[2]), os.environ.get("PYTHONPATH")]))
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment | locale, capture_output=True, timeout=120)


def assert_same(first: Path, second: Path, *more: str) -> None:
    for name in (*SAME_BYTES, *more):
        if name != "faiss.index" or (first / name).exists():
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_the_command_writes_the_same_bytes_in_any_locale(images, locale):
    for name, environment in (("expected", {"LC_ALL": "C.UTF-8"}), ("out", locale)):
        done = python(
            "-m", "fastdup_ray", "run", ".", "--work-dir", f"../{name}", "--executor", "inline",
            cwd=images, locale=environment,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
    assert_same(images.parent / "expected", images.parent / "out")
    assert b"/\xc3\xa9.jpg\n" in (images.parent / "out/features.dat.csv").read_bytes()


def test_the_library_writes_the_same_bytes_in_any_locale(images, locale):
    for name, environment in (("expected", {"LC_ALL": "C.UTF-8"}), ("out", locale)):
        done = python("-c", LIBRARY, f"../{name}", cwd=images, locale=environment)
        assert (done.returncode, done.stderr) == (0, b"")
    assert_same(images.parent / "expected", images.parent / "out", "label_conflicts.csv")
    assert (images.parent / "out/features.bad.csv").read_text(encoding="utf-8").count("\n") == 1


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=["C", "PYTHONIOENCODING"])
def test_what_a_terminal_cannot_show_is_escaped(environment, images):
    arguments = ("run", "é.jpg", "--work-dir", "../ausgänge", "--executor", "inline")
    for words in (arguments, ("gallery", "../ausgänge"), ("plan", "../ausgänge", "--save-path", "../plän.csv")):
        done = python("-m", "fastdup_ray", *words, cwd=images, locale=environment)
        assert (done.returncode, done.stderr) == (0, b""), words
    assert (images.parent / "ausgänge").is_dir()
    missing = python("-m", "fastdup_ray", "run", b"nicht da \xff\xc3\xa9", cwd=images, locale=environment)
    assert missing.returncode == 1
    assert missing.stderr.count(b"\n") == 1


def test_folders_whose_names_are_not_utf8_are_inputs_but_no_work_dirs(images):
    folder = os.path.join(os.fsencode(images.parent), b"d\xe9")
    os.rename(images, folder)
    arguments = ("-m", "fastdup_ray", "run", folder, "--executor", "inline", "--work-dir")
    assert python(*arguments, "out", cwd=images.parent, locale={}).returncode == 0
    assert b"/d\xe9/plain.jpg\n" in (images.parent / "out/features.dat.csv").read_bytes()
    assert '/d\\\\xe9"' in (images.parent / "out/config.json").read_text(encoding="utf-8")
    for name, current in ((b"o\xe9", images.parent), ("out", os.fsdecode(folder))):
        refused = python(*arguments, name, cwd=current, locale={})
        assert refused.returncode == 2
        assert refused.stderr.startswith(b"fastdup-ray: work_dir=")
        assert refused.stderr.count(b"\n") == 1


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale(images):
    """Only warnings that name our package are errors: others have such code, too."""
    words = ["-X", "warn_default_encoding", "-W", "always::EncodingWarning", "-m", "fastdup_ray"]
    for command in (
        ["run", ".", "--work-dir", "../out", "--executor", "inline"],
        ["gallery", "../out"],
        ["plan", "../out"],
    ):
        done = python(*words, *command, cwd=images, locale={})
        assert done.returncode == 0
        assert not [
            line for line in done.stderr.splitlines() if b"EncodingWarning" in line and b"/fastdup_ray/" in line
        ]
