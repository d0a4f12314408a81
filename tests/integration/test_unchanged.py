"""The same run again: with nothing new it writes nothing, and with anything new it writes what a fresh run would."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fastdup_ray.common import layout
from fastdup_ray.extract import thumbnails
from fastdup_ray.extract.video import describe_decoder
from fastdup_ray.outputs import basis
from tests.helpers.images import cloudy, encode, save_cloudy
from tests.helpers.runs import outputs, run_inline

OTHER_MTIME = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of six images, of which two are the same; labels and a list of references beside it."""
    images = tmp_path / "images"
    save_cloudy(images, 5)
    first, second = sorted(images.iterdir())[:2]
    (images / "z-again.jpg").write_bytes(first.read_bytes())
    (tmp_path / "labels.csv").write_text(f"filename,label\n{first},a\n{second},b\n")
    (tmp_path / "references.txt").write_text(f"{first}\n")
    return images


def run(folder: Path, **parameters: object):
    named = {"labels": str(folder.parent / "labels.csv"), "reference": [str(folder.parent / "references.txt")]}
    return run_inline(folder, folder.parent / "out", **named | parameters)


def stamp(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes of each file if it is written."""
    files = [path for path in (folder.parent / "out").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def was_written(folder: Path, before: dict[str, tuple[int, int]]) -> bool:
    name = str(folder.parent / "out" / layout.SUMMARY)
    return stamp(folder).get(name) != before[name]


@pytest.mark.parametrize("parameters", [{}, {"report": False}, {"log_format": "quiet"}, {"verify": "off"}])
def test_a_run_with_nothing_new_writes_nothing(parameters, folder):
    first = run(folder, **parameters)
    before = stamp(folder)
    again = run(folder, **parameters)
    assert stamp(folder) == before
    assert again.summary["read"] == 0
    assert again.summary["seconds"].keys() == {"list", "unchanged", "start"}
    assert again.counts == first.counts


@pytest.fixture
def no_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    describe_decoder.cache_clear()
    yield
    describe_decoder.cache_clear()


@pytest.mark.usefixtures("no_pyav")
def test_files_that_need_another_decoder_are_nothing_new(folder):
    (folder / "film.avi").write_bytes(b"RIFF\x00\x00\x00\x00AVI LIST")
    assert run(folder).counts["bad"] == 1
    before = stamp(folder)
    run(folder)
    assert stamp(folder) == before


def test_a_file_that_could_not_be_read_is_tried_again(folder):
    (folder / "zz.jpg").symlink_to(folder.parent / "missing.jpg")
    (folder.parent / "list.txt").write_text("\n".join(map(str, [*sorted(folder.iterdir()), "gone.jpg"])))
    run_inline(folder.parent / "list.txt", folder.parent / "out")
    before = stamp(folder)
    run_inline(folder.parent / "list.txt", folder.parent / "out")
    assert was_written(folder, before)


def test_what_is_shown_meanwhile_is_no_difference(folder):
    run(folder, log_format="quiet")
    before = stamp(folder)
    run(folder, verbose=True)
    assert stamp(folder) == before


def test_a_work_dir_of_ray_or_of_child_processes_is_the_same(folder):
    run(folder)
    before = stamp(folder)
    run(folder, executor="local")  # another parameter in config.json
    assert was_written(folder, before)
    before = stamp(folder)
    run(folder, executor="local")
    assert stamp(folder) == before


def change_parameter(folder: Path) -> dict[str, object]:
    return {"threshold": 0.5}


def leave_the_report_out(folder: Path) -> dict[str, object]:
    return {"report": False}


def add_image(folder: Path) -> dict[str, object]:
    (folder / "zz.jpg").write_bytes((folder / "z-again.jpg").read_bytes())
    return {}


def remove_image(folder: Path) -> dict[str, object]:
    (folder / "z-again.jpg").unlink()
    return {}


def touch_image(folder: Path) -> dict[str, object]:
    os.utime(folder / "z-again.jpg", (OTHER_MTIME, OTHER_MTIME))
    return {}


def add_file_of_another_kind(folder: Path) -> dict[str, object]:
    (folder / "notes.xyz").touch()
    return {}


def change_labels(folder: Path) -> dict[str, object]:
    path = folder.parent / "labels.csv"
    path.write_text(path.read_text().replace(",b", ",c"))
    return {}


def change_sidecar(folder: Path) -> dict[str, object]:
    (folder / "z-again.txt").write_text("a caption")
    return {}


def change_references(folder: Path) -> dict[str, object]:
    (folder.parent / "references.txt").write_text(f"{folder / 'z-again.jpg'}\n")
    return {}


CHANGES = (
    *(change_parameter, leave_the_report_out, add_image, remove_image, touch_image, add_file_of_another_kind),
    *(change_labels, change_references, change_sidecar),
)


@pytest.mark.parametrize("change", CHANGES)
def test_anything_new_is_written(change: Callable[[Path], dict[str, object]], folder):
    run(folder)
    before = stamp(folder)
    result = run(folder, **(parameters := change(folder)))
    assert was_written(folder, before)
    written = outputs(folder.parent / "out")
    run(folder, reuse=False, **parameters)
    assert outputs(folder.parent / "out") == written
    assert (folder.parent / "out" / layout.REPORT).exists() is not (change is leave_the_report_out)
    assert result.summary["sha256"].keys() >= {layout.FEATURES}


EDITED = (layout.FEATURES, layout.SIMILARITY_CSV, layout.MANIFEST, layout.IMAGES, layout.VERIFIED, layout.REPORT)
REMOVED = (layout.COMPONENTS_CSV, layout.CONFIG, layout.SUMMARY, layout.REPORT)


@pytest.mark.parametrize(
    ("name", "is_removed"), [*((name, False) for name in EDITED), *((name, True) for name in REMOVED)]
)
def test_a_damaged_output_is_made_again(name, is_removed, folder):
    run(folder)
    whole, path = outputs(folder.parent / "out"), folder.parent / "out" / name
    size = path.stat().st_size
    if is_removed:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"#")
    run(folder)
    assert outputs(folder.parent / "out") == whole
    assert path.stat().st_size > size / 2
    assert not path.read_bytes().endswith(b"#")


@pytest.mark.parametrize("what", ["hash_code", "describe_libraries"])
def test_another_version_makes_its_own_outputs(what, folder, monkeypatch):
    run(folder)
    before = stamp(folder)
    monkeypatch.setattr(basis, what, lambda: "another")
    run(folder)
    assert was_written(folder, before)


@pytest.mark.parametrize("parameters", [{"reuse": False}, {"incremental": True}, {"invariant": "flip"}])
def test_some_runs_always_write(parameters, folder):
    run(folder, **parameters)
    before = stamp(folder)
    run(folder, **parameters)
    assert was_written(folder, before)


def test_a_report_with_a_gap_is_made_again(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "open_entry", lambda *_: (_ for _ in ()).throw(OSError("a moment of no network")))
        run(folder)
    size = (folder.parent / "out" / layout.REPORT).stat().st_size
    run(folder)
    assert (folder.parent / "out" / layout.REPORT).stat().st_size > size


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the images that thumbnails are made of."""
    names: list[str] = []
    make = thumbnails.make_thumbnail

    def note(name: str, *args: object) -> thumbnails.Thumbnail:
        names.append(Path(name).name)
        return make(name, *args)

    monkeypatch.setattr(thumbnails, "make_thumbnail", note)
    return names


def test_thumbnails_of_the_last_report_are_made_once(folder, decoded):
    run(folder, threshold=0.5)
    assert sorted(decoded) == [f"{number:04d}.jpg" for number in range(5)]  # z-again.jpg is the same as one of them
    decoded.clear()
    (folder / "0003.jpg").write_bytes(encode(cloudy(9), "JPEG"))
    run(folder, threshold=0.6)
    assert decoded == ["0003.jpg"]
    written = outputs(folder.parent / "out")
    run(folder, threshold=0.6, reuse=False)
    assert len(decoded) == 6
    assert outputs(folder.parent / "out") == written


def test_a_thumbnail_of_another_image_with_the_same_pixels_is_not_reused(folder, decoded):
    """A large JPEG is decoded at a lower size for it, a PNG is not."""
    cloudy(7, (1500, 1000)).save(folder / "a.jpg")
    with Image.open(folder / "a.jpg") as image:
        image.save(folder / "b.png")
    run(folder, threshold=0.5)
    assert {"a.jpg", "b.png"} & set(decoded) == {"a.jpg"}
    decoded.clear()
    (folder / "a.jpg").unlink()
    run(folder, threshold=0.5)
    assert decoded == ["b.png"]


@pytest.mark.parametrize("change", ["edited", "larger thumbnails", "another version"])
def test_thumbnails_of_another_report_are_not_reused(change, folder, decoded, monkeypatch):
    run(folder, threshold=0.5)
    decoded.clear()
    if change == "edited":
        report = folder.parent / "out" / layout.REPORT
        report.write_bytes(report.read_bytes() + b"<!-- -->")
    elif change == "another version":
        monkeypatch.setattr(basis, "hash_code", lambda: "another")
    else:
        monkeypatch.setattr(thumbnails, "REPORT_SIDES", {1000: 1})
    run(folder, threshold=0.6)
    assert len(decoded) == 5


def test_a_run_without_thumbnails_makes_none_and_leaves_none_to_reuse(folder, decoded):
    run(folder, threshold=0.5)
    decoded.clear()
    run(folder, threshold=0.6, thumbnails=False)
    assert decoded == []
    run(folder, threshold=0.6)
    assert len(decoded) == 5


def test_a_report_names_the_place_where_it_is(folder):
    run(folder)
    (folder.parent / "out").rename(folder.parent / "moved")
    (folder.parent / "out").symlink_to(folder.parent / "moved")
    run(folder)
    run_inline(folder, folder.parent / "moved")
    assert str(folder.parent / "moved") in (folder.parent / "moved" / layout.REPORT).read_text()


def test_results_of_a_scoring_are_removed_as_ever(folder):
    run(folder)
    run_inline(folder, folder.parent / "out", run_mode=3)
    assert (folder.parent / "out" / layout.TRAIN_SIMILARITY_CSV).exists()
    run(folder)
    assert not (folder.parent / "out" / layout.TRAIN_SIMILARITY_CSV).exists()
