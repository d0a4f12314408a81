"""The same of a scoring: what it wrote, and that it left the indexed set alone."""

import hashlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from .checks import (
    DISTANCE,
    IMAGES,
    NUMBER,
    SAMPLE,
    TIE,
    check_bad_list,
    check_features,
    check_manifest,
    check_sha256,
    conflicts,
    same_pixels,
    some,
)
from .run import EXACT_COPIES, PAIRS, Pairs, Run, printable, raw

FILES = (
    *("features.dat", "features.dat.csv", "features.bad.csv", "features.dat.bad", "outliers.csv", "images.parquet"),
    *("exact_copies.csv", "config.json", "summary.json", "similarity.csv", "similarity.parquet"),
)


class Scored(Run):
    """The new pictures in a work_dir. Pairs: source is a row of theirs, target one of `indexed`."""

    def __init__(self, work_dir: str | os.PathLike):
        super().__init__(work_dir)
        self.indexed = Run(work_dir)

    def file(self, name: str) -> Path:
        return self.path / (name if name.startswith("similarity.") else f"test_{name}")

    def pairs(self, name: str) -> Pairs:
        rows = self.csv(name, PAIRS)
        source = np.array([self.row_of.get(row[0], -1) for row in rows], np.int64)
        target = np.array([self.indexed.row_of.get(row[1], -1) for row in rows], np.int64)
        text = [row[2] for row in rows]
        return Pairs([(a, b) for a, b, _ in rows], text, source, target, np.array(text, np.float64))

    @property
    def is_own(self) -> bool:
        """Whether it was of features that no run of mode 1 described."""
        return "list_sha256" not in self.summary

    def values(self, source: np.ndarray, target: np.ndarray, metric: str) -> np.ndarray:
        if len(source) == 0:
            return np.empty(0)
        a = np.array(self.features[source], np.float64)
        b = np.array(self.indexed.features[target], np.float64)
        a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (a, b))
        if metric == "cosine":
            return (a * b).sum(1)
        if metric == "manhattan":
            return np.abs(a - b).sum(1)
        return ((a - b) ** 2).sum(1) ** (0.5 if metric == "euclidean" else 1)

    @cached_property
    def label(self) -> dict[str, str | None]:
        return dict(zip(self.names, self.parquet("images.parquet", (*IMAGES, "label"))["label"], strict=True))


def check_files(run: Scored) -> Iterator[str]:
    names = [run.file(name) for name in FILES]
    names += [run.path / f"train_{name}" for name in ("similarity.csv", "similarity.parquet")]
    names += [run.file("manifest.parquet")] * (not run.is_own)
    names += [run.file("report/index.html")] * run.config["report"]
    yield from (f"{path.name}: missing" for path in names if not path.is_file())
    if (run.path / "test_shards").exists():
        yield "test_shards: still there"


def check_nothing_of_the_indexed_set_changed(run: Scored) -> Iterator[str]:
    for name, sha256 in json.loads((run.path / "summary.json").read_bytes()).get("sha256", {}).items():
        if hashlib.sha256(run.indexed.file(name).read_bytes()).hexdigest() != sha256:
            yield f"{run.indexed.file(name).name}: not what the run left that made the index"


def check_own_files(run: Scored) -> Iterator[str]:
    for name, sha256 in run.summary["sha256"].items():
        if hashlib.sha256((run.path / name).read_bytes()).hexdigest() != sha256:
            yield f"{name}: not what test_summary.json says"


def check_pictures(run: Scored) -> Iterator[str]:
    if run.is_own or not run.n:
        return
    for examine in (check_features, check_bad_list, check_manifest, check_sha256):
        yield from examine(run)


def check_pairs_as_written(run: Scored) -> Iterator[str]:
    config = run.config
    for file, pairs, closest_first in (("similarity.csv", run.similar, True), ("outliers.csv", run.outliers, False)):
        unknown = np.minimum(pairs.source, pairs.target) < 0
        yield from some(file, "not from a new to an indexed image", pairs.where(unknown))
        yield from some(file, "not a number with 6 decimals", [t for t in pairs.text if not NUMBER.fullmatch(t)])
        if len(set(pairs.names)) < len(pairs.names):
            yield f"{file}: pairs that stand there twice"
        off = np.abs(run.values(pairs.source, pairs.target, config["distance"]) - pairs.value)
        yield from some(file, "distances are not those of the rows", pairs.where(~(off <= DISTANCE)))
        rank = pairs.value if closest_first == (config["distance"] != "cosine") else -pairs.value
        keys = [(value, raw(a), raw(b)) for value, (a, b) in zip(rank.tolist(), pairs.names, strict=True)]
        yield from some(file, "rows out of order, after", [i for i, (a, b) in enumerate(pairwise(keys)) if a > b])
    above = run.cosines(run.similar) > config["threshold"]
    yield from some("similarity.csv", f"not above {config['threshold']}", run.similar.where(~above))
    count = np.bincount(run.similar.source, minlength=run.n)
    yield from some("similarity.csv", "more than k neighbours", run.where(count > config["nearest_neighbors_k"]))


def check_neighbours(run: Scored) -> Iterator[str]:
    """Both lists against an exact search, where the index is exact and both sets are small."""
    config, indexed = run.config, run.indexed
    metrics = (config["distance"], indexed.config["distance"])
    if run.n * indexed.n > 10_000_000 or not indexed.is_exact() or not run.n or "manhattan" in metrics:
        return
    rows = np.repeat(np.arange(run.n), indexed.n)
    cosine = run.values(rows, np.tile(np.arange(indexed.n), run.n), "cosine").reshape(run.n, indexed.n)
    k, closest = min(config["nearest_neighbors_k"], indexed.n), cosine.max(1)
    nearest = -np.sort(-cosine, axis=1)[:, :k]
    clear = (np.abs(nearest - config["threshold"]) > TIE).all(1)
    expected = (nearest > config["threshold"]).sum(1)
    found = np.bincount(run.similar.source, minlength=run.n)
    yield from some("similarity.csv", "not as many neighbours as there are", run.where(clear & (expected != found)))
    least = nearest[run.similar.source, found[run.similar.source] - 1]
    far = run.cosines(run.similar) < least - TIE
    yield from some("similarity.csv", "not the closest", run.similar.where(far))
    outlier = np.isin(np.arange(run.n), run.outliers.source)
    wrong = (outlier != (closest < config["lower_threshold"])) & (np.abs(closest - config["lower_threshold"]) > TIE)
    yield from some("outliers.csv", "not the images whose closest is below lower_threshold", run.where(wrong))


def check_tables(run: Scored) -> Iterator[str]:
    images = run.parquet("images.parquet", IMAGES + ("label",) * bool(run.config["labels"]))
    if images["filename"] != [printable(name) for name in run.names]:
        yield "images.parquet: filename is not that of features.dat.csv"
    similar = run.parquet("similarity.parquet", PAIRS)
    if list(zip(similar["from"], similar["to"], strict=True)) != [tuple(map(printable, p)) for p in run.similar.names]:
        yield "similarity.parquet: names are not those of similarity.csv"
    counts = {"images": run.n, "bad": len(run.bad), "pairs": len(run.similar.text), "outliers": len(run.outliers.text)}
    for name, count in (counts | {"indexed": run.indexed.n}).items():
        if run.summary["counts"].get(name) != count:
            yield f"summary.json: counts.{name} is {run.summary['counts'].get(name)}, the files have {count}"


def check_exact_copies(run: Scored) -> Iterator[str]:
    """As for the indexed set; what is copied is an indexed image."""
    file, rows = "test_exact_copies.csv", run.csv("exact_copies.csv", EXACT_COPIES)
    first: dict[str, str] = {}
    for name, sha256 in zip(run.indexed.names, run.indexed.parquet_column("images.parquet", "sha256"), strict=True):
        if sha256:
            first.setdefault(sha256, name)
    digests = run.parquet_column("images.parquet", "sha256")
    by_bytes = [[name, first[sha256]] for name, sha256 in zip(run.names, digests, strict=True) if sha256 in first]
    if [row[:2] for row in rows if row[2] == "bytes"] != by_bytes:
        yield f"{file}: not the {len(by_bytes)} new images with the bytes of an indexed one"
    unknown = [(a, b) for a, b, _ in rows if a not in run.row_of or b not in run.indexed.row_of]
    yield from some(file, "not of a new and an indexed image", unknown)
    by_pixels = [(a, b) for a, b, kind in rows if kind == "pixels"]
    yield from some(file, "other pixels", [pair for pair in by_pixels[:SAMPLE] if same_pixels(*pair) is False])
    if run.summary["counts"].get("exact_copies") != len(rows):
        yield f"test_summary.json: counts.exact_copies is not the {len(rows)} of {file}"


def check_label_conflicts(run: Scored) -> Iterator[str]:
    if run.config["labels"]:
        if run.config["labels"] == "folder":
            other = {name: os.path.basename(os.path.dirname(name)) for name in run.indexed.names}
        else:  # as told: the table of the indexed images may be of other labels
            other = {row[1]: row[4] for row in run.csv("label_conflicts.csv", (*PAIRS, "label_from", "label_to"))}
        yield from conflicts(run, run.label, {name: other.get(name) for name in run.indexed.names})


SCORED_CHECKS = (
    check_files,
    check_nothing_of_the_indexed_set_changed,
    check_own_files,
    check_pictures,
    check_pairs_as_written,
    check_neighbours,
    check_tables,
    check_exact_copies,
    check_label_conflicts,
)
