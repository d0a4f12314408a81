"""Every public function takes a path as str and as `os.PathLike`, and refuses all else in one line."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

import fastdup_ray
import fastdup_ray.v1
from fastdup_ray import FastdupError, RunConfig, RunResult
from fastdup_ray.evaluation.evaluate import evaluate
from fastdup_ray.features import load_binary_feature, save_binary_feature
from fastdup_ray.runs.estimate import estimate_run
from tests.helpers.runs import PHOTOS, run_inline

PHONE = PHOTOS / "phone"
INLINE = {"executor": "inline", "report": False}


class OwnPath:
    """A path of neither kind, as some libraries have them."""

    def __init__(self, path: Any):
        self._path = os.fspath(path)

    def __fspath__(self) -> str:
        return self._path

    def __repr__(self) -> str:
        return f"OwnPath({self._path!r})"


def _undone(kind: Callable, out: Path) -> Any:
    """With images of its own, of which one is moved."""
    images, run = out.parent / "images", out.parent / "of-two"
    images.mkdir()
    for name in ("one.jpg", "two.jpg"):
        shutil.copy(next(PHONE.iterdir()), images / name)
    run_inline(images, run, report=False)
    assert fastdup_ray.apply_plan(fastdup_ray.make_plan(run).path, out.parent / "quarantine", execute=True).moved
    return fastdup_ray.undo(kind(out.parent / "quarantine"))


def _plan(out: Path) -> Path:
    return Path(fastdup_ray.make_plan(out, out.parent / "plan.csv", overwrite=True).path)


def _truth(out: Path) -> Path:
    names = sorted(path.name for path in PHONE.iterdir())
    path = out.parent / "truth.csv"
    path.write_text("path,group\n" + "".join(f"{PHONE / name},{name[:1]}\n" for name in names), encoding="utf-8")
    return path


def _labels(out: Path) -> Path:
    path = out.parent / "labels.csv"
    path.write_text(f"filename,label\n{next(PHONE.iterdir())},a\n", encoding="utf-8")
    return path


def _export_model(kind: Callable[[Path], Any], out: Path) -> None:
    """Of an empty file there is nothing to export, with torch or without: its paths are accepted all the same."""
    script = out.parent / "script.pt"
    script.touch()
    try:
        fastdup_ray.export_model(kind(script), kind(out.parent / "m.onnx"))
    except FastdupError as error:
        if not re.search("cannot be (imported|loaded)", str(error)):
            raise


def _clustered(out: Path) -> Path:
    fastdup_ray.cluster_images(out, 2)
    return out


CALLS: dict[str, Callable[[Callable[[Path], Any], Path], Any]] = {
    "run input_dir": lambda kind, out: _zero(fastdup_ray.run(kind(PHONE), out.parent / "new", **INLINE)),
    "run work_dir": lambda kind, out: _zero(fastdup_ray.run(PHONE, kind(out.parent / "new"), **INLINE)),
    "RunConfig.of input_dir": lambda kind, _: RunConfig.of(input_dir=kind(PHONE)),
    "RunConfig.of input_dir list": lambda kind, _: RunConfig.of(input_dir=["a", kind(PHONE)]),
    "RunConfig.of input_dir tuple": lambda kind, _: RunConfig.of(input_dir=(kind(PHONE),)),
    "RunConfig.of work_dir": lambda kind, out: RunConfig.of(input_dir="a", work_dir=kind(out)),
    "RunConfig.of reference": lambda kind, _: RunConfig.of(input_dir="a", reference=kind(PHONE)),
    "RunConfig.of reference list": lambda kind, _: RunConfig.of(input_dir="a", reference=[kind(PHONE)]),
    "RunConfig.of labels": lambda kind, out: RunConfig.of(input_dir="a", labels=kind(_labels(out))),
    "RunConfig.of model_path": lambda kind, out: RunConfig.of(input_dir="a", model_path=kind(out)),
    "RunConfig.of model": lambda kind, out: RunConfig.of(input_dir="a", model=kind(out)),
    "deduplicate": lambda kind, out: fastdup_ray.deduplicate(
        RunConfig.of(input_dir=[kind(PHONE)], work_dir=kind(out), labels=kind(_labels(out)), **INLINE)
    ),
    "deduplicate input_dir": lambda kind, out: fastdup_ray.deduplicate(kind(PHONE), out, verify="off", **INLINE),
    "deduplicate work_dir": lambda kind, out: fastdup_ray.deduplicate(PHONE, kind(out), verify="off", **INLINE),
    "estimate": lambda kind, out: estimate_run(RunConfig.of(input_dir=kind(PHONE), work_dir=kind(out))),
    "RunResult.open": lambda kind, out: RunResult.open(kind(out)).images,
    "RunResult.search": lambda kind, out: RunResult.open(out).search(kind(PHONE / "IMG_0001.jpg")),
    "load_binary_feature": lambda kind, out: load_binary_feature(kind(out / "features.dat")),
    "load_binary": lambda kind, out: fastdup_ray.load_binary(kind(out)),
    "load_binary_features": lambda kind, out: fastdup_ray.load_binary_features(kind(out)),
    "save_binary_feature": lambda kind, out: save_binary_feature(kind(out.parent / "own"), ["a"], np.ones((1, 4))),
    "create_duplicates_gallery": lambda kind, out: fastdup_ray.create_duplicates_gallery(kind(out / "similarity.csv")),
    "generate_duplicates_gallery": lambda kind, out: fastdup_ray.generate_duplicates_gallery(work_dir=kind(out)),
    "gallery work_dir": lambda kind, out: fastdup_ray.create_outliers_gallery(kind(out)),
    "create_outliers_gallery": lambda kind, out: fastdup_ray.create_outliers_gallery(kind(out / "outliers.csv")),
    "create_components_gallery": lambda kind, out: fastdup_ray.create_components_gallery(kind(out)),
    "create_similarity_gallery": lambda kind, out: fastdup_ray.create_similarity_gallery(kind(out)),
    "create_stats_gallery": lambda kind, out: fastdup_ray.create_stats_gallery(kind(out), kind(out.parent / "pages")),
    "v1.create": lambda kind, out: fastdup_ray.v1.create(kind(out)).similarity(),
    "gallery save_path": lambda kind, out: fastdup_ray.create_components_gallery(out, kind(out.parent / "pages")),
    "make_pages": lambda kind, out: fastdup_ray.make_pages(kind(out), save_path=kind(out.parent / "pages")),
    "make_plan": lambda kind, out: fastdup_ray.make_plan(kind(out)),
    "make_plan save_path": lambda kind, out: fastdup_ray.make_plan(out, kind(out.parent / "other.json")),
    "apply_plan": lambda kind, out: fastdup_ray.apply_plan(kind(_plan(out))),
    "apply_plan quarantine": lambda kind, out: fastdup_ray.apply_plan(_plan(out), kind(out.parent / "away")),
    "undo": _undone,
    "build_dataset": lambda kind, out: fastdup_ray.build_dataset(
        kind(_plan(out)), kind(out.parent / "clean"), "copy", kind(out)
    ),
    "export": lambda kind, out: fastdup_ray.export(kind(out), "keep-list", kind(out.parent / "keep"), kind(_plan(out))),
    "split_dataset": lambda kind, out: fastdup_ray.split_dataset(kind(out), kind(out.parent / "parts.csv")),
    "select_subset": lambda kind, out: fastdup_ray.select_subset(kind(out), 2, kind(out.parent / "few.txt")),
    "export_model": _export_model,
    "cluster_images": lambda kind, out: fastdup_ray.cluster_images(kind(out), 2, kind(out.parent / "clusters.csv")),
    "create_clusters_gallery": lambda kind, out: fastdup_ray.create_clusters_gallery(
        kind(_clustered(out)), kind(out.parent / "pages")
    ),
    "create_embedding_map": lambda kind, out: fastdup_ray.create_embedding_map(kind(out), kind(out.parent / "pages")),
    "leakage": lambda kind, out: fastdup_ray.leakage(kind(out), kind(PHONE), executor="inline"),
    "leakage work_dir": lambda kind, out: fastdup_ray.leakage(PHONE, PHONE, kind(out.parent / "new"), **INLINE),
    "compare": lambda kind, _: fastdup_ray.compare(kind(PHONE / "IMG_0001.jpg"), PHONE / "IMG_0002.jpg"),
    "evaluate": lambda kind, out: evaluate(kind(out), kind(_truth(out)), kind(out.parent / "plot.svg")),
    "evaluate work_dir": lambda kind, out: evaluate(
        PHONE, _truth(out), work_dir=kind(out.parent / "new"), executor="inline"
    ),
}


def _zero(code: int) -> None:
    """`run` prints its errors."""
    if code:
        raise FastdupError("one line")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    assert fastdup_ray.run(PHONE, work_dir=out, executor="inline") == 0
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, tmp_path / "out"))


def test_no_public_function_is_left_out():
    told = " ".join(CALLS).replace(".", " ").split()
    types = {
        "ApplyResult",
        "ClusterResult",
        "Comparison",
        "DatasetResult",
        "FastdupError",
        "Leakage",
        "ModelExportResult",
        "SplitResult",
        "SubsetResult",
        "UndoResult",
        "__version__",
    }
    assert set(fastdup_ray.__all__) - types <= set(told)


@pytest.mark.parametrize("kind", [str, Path, OwnPath])
@pytest.mark.parametrize("name", CALLS)
def test_a_path_may_be_a_str_or_any_path_like(name, kind, out):
    CALLS[name](kind, out)


@pytest.mark.parametrize(
    "wrong", [b"out", 5, 1.5, ["out", 5], "", "a\0b", OwnPath("s3:/b/out"), PurePosixPath("s3://b/x")]
)
@pytest.mark.parametrize("name", CALLS)
def test_anything_else_is_one_line(name, wrong, out):
    with pytest.raises(FastdupError) as caught:
        CALLS[name](lambda _: wrong, out)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in out.parent.iterdir() if path.name.startswith(("a", "new", "5"))) == []


@pytest.mark.parametrize("name", ["RunResult.open", "load_binary", "make_plan", "create_components_gallery"])
def test_the_home_folder_may_be_written_as_a_tilde(name, out, monkeypatch):
    monkeypatch.setenv("HOME", str(out.parent))
    CALLS[name](lambda path: Path("~") / path.name, out)
    CALLS[name](lambda path: f"~/{path.name}", out)
