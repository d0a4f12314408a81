"""Measure precision and recall of similarities and of relations against known duplicates."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common import layout
from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.arrays import EmbeddingArray, IntArray
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.config import RunConfig
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.evaluation.curve import Curve
from fastdup_ray.evaluation.pairs import ORIGINAL, UNKNOWN, count_pairs, find_bin
from fastdup_ray.evaluation.plot import draw_svg
from fastdup_ray.evaluation.relations import RelationEvaluation, evaluate_relations
from fastdup_ray.evaluation.truth import Label, read_truth
from fastdup_ray.features import map_named_features
from fastdup_ray.neighbors.search import check_unit_length
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.runs.pipeline import run_pipeline
from fastdup_ray.storage import Store
from fastdup_ray.storage.feature_rows import has_features, open_features
from fastdup_ray.storage.named_output import NamedOutput
from fastdup_ray.storage.tables import encode_names, find_positions

THRESHOLDS = (0.80, 0.85, 0.90, 0.95, 0.98)
"""Thresholds that figures are printed for."""

PRECISIONS = (0.95, 0.99)
"""Precisions for which the lowest threshold is printed."""

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class Evaluation:
    """How well the similarities, and the relations, separate duplicates from other pairs.

    Attributes:
        curve: Precision and recall over all pairs.
        images: Number of images that have a label and an embedding.
        unlabelled: Number of images with an embedding and without a label.
        without_embedding: Number of labels without an embedding.
        recalls: For each kind of edit the number of pairs of an edited image and an original of its group, and the
            recall of these pairs at each of `THRESHOLDS`.
        relations: The same for the relations of verified pairs; None if the run has none.
    """

    curve: Curve
    images: int
    unlabelled: int
    without_embedding: int
    recalls: dict[str, tuple[int, list[float]]]
    relations: RelationEvaluation | None = None

    def text(self) -> str:
        """Return what the command prints."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        duplicates = int(self.curve.same.sum())
        pairs = duplicates + int(self.curve.other.sum())
        yield f"{self.images:,} images, {pairs:,} pairs, {duplicates:,} of them duplicates"
        if self.without_embedding:
            yield f"{self.without_embedding:,} images of the truth file are missing or unreadable: left out"
        if self.unlabelled:
            yield f"{self.unlabelled:,} images are not in the truth file: left out"
        yield f"micro average precision {self.curve.average_precision:.4f}"
        yield f"\n{'threshold':24}{'precision':>10}{'recall':>10}"
        for threshold in THRESHOLDS:
            precision, recall = self.curve.at(threshold)
            yield f"{threshold:<24.2f}{precision:10.4f}{recall:10.4f}"
        for wanted in PRECISIONS:
            lowest = self.curve.threshold_for(wanted)
            if lowest is None:
                yield f"{f'none for {wanted:.0%}':24}"
            else:
                precision, recall = self.curve.at(lowest)
                yield f"{f'{lowest:.6f} for {wanted:.0%}':24}{precision:10.4f}{recall:10.4f}"
        if self.recalls:
            head = "".join(f"{threshold:>8.2f}" for threshold in THRESHOLDS)
            yield f"\n{'recall by edit':24}{'copies':>10}{head}"
            for kind, (count, recalls) in self.recalls.items():
                yield f"{kind:24}{count:10,}" + "".join(f"{recall:8.3f}" for recall in recalls)
        if self.relations is not None:
            yield from self.relations.lines()


@accept_paths("location", "truth", "plot", "work_dir")
def evaluate(
    location: Location,
    truth: Location,
    plot: Location | None = None,
    work_dir: Location | None = None,
    executor: str | None = None,
    *,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> Evaluation:
    """Measure precision and recall of similarities, and of the relations of verified pairs, against known duplicates.

    Args:
        location: A work_dir, a features file, or a folder of images, on which a run is made first.
        truth: A CSV with the columns path, group and, optionally, edit; see `read_truth`.
        plot: An SVG file to write the curves to, or `-` for standard output.
        work_dir: Where the run on a folder is kept; default: a temporary folder.
        executor: Where the run on a folder works, as in `run`.
        overwrite: Replace `plot` if it exists.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Raises:
        ConfigError: If a parameter is invalid.
        InputError: If an input cannot be read, or the truth has no two images of one group with embeddings.
        WorkDirError: If `plot` exists or cannot be written.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    drawing = None if plot is None else _open_plot(os.fspath(plot), access, overwrite=overwrite)
    labels = read_truth(os.fspath(truth))
    progress = redirect_stdout(sys.stderr) if drawing is not None and drawing.is_stdout else nullcontext()
    location, work_dir = os.fspath(location), None if work_dir is None else os.fspath(work_dir)
    with progress, _open_embeddings(location, work_dir, executor, access) as (names, embeddings, verified):
        evaluation = evaluate_embeddings(names, embeddings, labels, verified)
    if drawing is not None:
        title = f"micro average precision {evaluation.curve.average_precision:.4f}"
        with drawing.open() as file:
            file.write(draw_svg(evaluation.curve, title).encode())
    return evaluation


def _open_plot(plot: str, access: Access, *, overwrite: bool) -> NamedOutput:
    output = NamedOutput(plot, access, overwrite=overwrite)
    if not (output.path.lower().endswith(".svg") or output.is_stdout):
        raise ConfigError(f"Invalid value for plot: {plot!r} (must end in .svg).")
    output.check()
    return output


def evaluate_embeddings(
    names: pa.Array, embeddings: EmbeddingArray, labels: dict[str, Label], verified: VerifiedPairs | None = None
) -> Evaluation:
    """Measure precision and recall of embeddings, and of verified pairs.

    Args:
        names: (n,) raw names, each once; they may be mapped from a file.
        embeddings: (n, d) float32.
        labels: The labels of images by path or URI. Images without a label are left out.
        verified: The verified pairs of these n images, if there are any.

    Raises:
        InputError: If no image has a label, or no two have the same group.
    """
    positions = find_positions(encode_names(labels), names)
    order = np.argsort(positions, kind="stable")[int((positions < 0).sum()) :]
    labeled, listed = positions[order], list(labels.values())
    if not len(labeled):
        first = os.fsdecode(names[0].as_py()) if len(names) else "nothing"
        raise InputError(
            f"The truth file has none of the images: it names {next(iter(labels), 'nothing')!r}, "
            f"the work_dir has {first!r}."
        )
    used = [listed[index] for index in order.tolist()]
    kinds = sorted({label.edit for label in used if label.edit is not None and not label.is_original})
    groups, edits = _number_groups(used), np.array([_number_kind(label, kinds) for label in used])
    counts = count_pairs(check_unit_length(embeddings[labeled]), groups, edits)
    if not counts.same.any():
        raise InputError("The truth file has no two images of one group that both have embeddings: nothing to measure.")
    limits = find_bin(np.array(THRESHOLDS))
    recalls: dict[str, tuple[int, list[float]]] = {}
    for number, kind in enumerate(kinds):
        copies = counts.bins[counts.kinds == number]
        if len(copies):
            recalls[kind] = (len(copies), (copies[:, None] > limits).mean(0).tolist())
    relations = None
    if verified is not None:
        relations = evaluate_relations(verified, labeled, groups, edits, kinds)
    return Evaluation(
        Curve(counts.same, counts.other),
        images=len(labeled),
        unlabelled=len(names) - len(labeled),
        without_embedding=len(labels) - len(labeled),
        recalls=recalls,
        relations=relations,
    )


def _number_groups(labels: list[Label]) -> IntArray:
    """Return (n,) the same number for labels of one group; a label without a group has a number of its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(label.group or index, len(numbers)) for index, label in enumerate(labels)])


def _number_kind(label: Label, kinds: list[str]) -> int:
    if label.edit is None:
        return UNKNOWN
    return ORIGINAL if label.is_original else kinds.index(label.edit)


@contextmanager
def _open_embeddings(
    location: str, work_dir: str | None, executor: str | None, access: Access
) -> Iterator[tuple[pa.Array, EmbeddingArray, VerifiedPairs | None]]:
    """Yield the names, embeddings and verified pairs of a run, or of what else is stored, after a run if needed."""
    store, file = open_features(location, access)
    if has_features(store, file):
        if work_dir is not None:
            raise ConfigError(f"Invalid value for work_dir: {work_dir!r} (not needed: {location!r} has embeddings).")
        yield _read_stored(location, access)
        return
    with tempfile.TemporaryDirectory(prefix="fastdup_ray-") as temporary:
        engine: dict[str, Any] = {} if executor is None else {"executor": executor}
        engine |= {"s3_anonymous": bool(access.anonymous), "s3_requester_pays": access.requester_pays}
        run = run_pipeline(RunConfig.of(input_dir=location, work_dir=work_dir or temporary, report=False, **engine))
        yield _read_stored(run.store.location, access)


def _read_stored(location: str, access: Access) -> tuple[pa.Array, EmbeddingArray, VerifiedPairs | None]:
    try:
        names, embeddings = map_named_features(location, access)
    except FileNotFoundError as error:
        raise InputError(str(error)) from None
    return names, embeddings, _read_verified(*open_features(location, access))


def _read_verified(store: Store, features_file: str) -> VerifiedPairs | None:
    """Return the verified pairs of the run on these features; None if it has none, or there was no such run."""
    try:
        run = RunReader.open(store, needed=[layout.VERIFIED])
    except InputError:
        return None
    return read_finished_run(store).verified if run.features_file == features_file else None
