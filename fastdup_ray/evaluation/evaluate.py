"""`fastdup-ray evaluate`: features and a truth file in, figures out."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdup_ray.common import layout
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.evaluation.curve import Curve
from fastdup_ray.evaluation.pairs import ORIGINAL, UNKNOWN, count_pairs, find_bin
from fastdup_ray.evaluation.plot import draw_svg
from fastdup_ray.evaluation.truth import Label, read_truth
from fastdup_ray.features import read_features
from fastdup_ray.neighbors.search import check_unit_length
from fastdup_ray.runs.pipeline import deduplicate
from fastdup_ray.s3 import Access, make_access
from fastdup_ray.storage import open_file
from fastdup_ray.storage.named_output import NamedOutput

THRESHOLDS = (0.80, 0.85, 0.90, 0.95, 0.98)
PRECISIONS = (0.95, 0.99)

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class Evaluation:
    """curve: over all pairs. pictures: rows that the truth knows. unlabelled: rows that it does not know.

    without_row: labels without a row. recalls: kind of edit -> (copies, recall at each of `THRESHOLDS`), of the pairs
    of a copy and an original of its group.
    """

    curve: Curve
    images: int
    unlabelled: int
    without_embedding: int
    recalls: dict[str, tuple[int, list[float]]]

    def text(self) -> str:
        """What the command prints."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        copies = int(self.curve.same.sum())
        pairs = copies + int(self.curve.other.sum())
        yield f"{self.images:,} pictures, {pairs:,} pairs, {copies:,} of them in one group"
        if self.without_embedding:
            yield f"{self.without_embedding:,} pictures of the truth have no features (bad, or not there): left out"
        if self.unlabelled:
            yield f"{self.unlabelled:,} pictures with features are not in the truth: left out"
        yield f"micro average precision {self.curve.average_precision:.4f}"
        yield f"\n{'threshold':24}{'precision':>10}{'recall':>10}"
        for threshold in THRESHOLDS:
            precision, recall = self.curve.at(threshold)
            yield f"{threshold:<24.2f}{precision:10.4f}{recall:10.4f}"
        for precision in PRECISIONS:
            threshold = self.curve.threshold_for(precision)
            if threshold is None:
                yield f"{f'none for {precision:.0%}':24}"
            else:
                reached, recall = self.curve.at(threshold)
                yield f"{f'{threshold:.6f} for {precision:.0%}':24}{reached:10.4f}{recall:10.4f}"
        if self.recalls:
            head = "".join(f"{threshold:>8.2f}" for threshold in THRESHOLDS)
            yield f"\n{'recall by edit':24}{'copies':>10}{head}"
            for kind, (count, recalls) in self.recalls.items():
                yield f"{kind:24}{count:10,}" + "".join(f"{recall:8.3f}" for recall in recalls)


@accept_paths("location", "truth", "plot", "work_dir")
def evaluate(
    location: Location,
    truth: Location,
    plot: Location | None = None,
    work_dir: Location | None = None,
    executor: str | None = None,
    overwrite: bool = False,
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> Evaluation:
    """Measure a work_dir, a features file, or a folder of images, by the labels of the file `truth`.

    A folder of images goes through run mode 1 first, into `work_dir` or a temporary one. plot: an SVG to write, or `-`
    for standard output; `overwrite` replaces one that is there.
    Raises a `FastdupError` whose text is one line.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    drawing = None if plot is None else _open_plot(plot, access, overwrite=overwrite)
    labels = read_truth(truth)
    progress = redirect_stdout(sys.stderr) if drawing is not None and drawing.is_stdout else nullcontext()
    with progress, _compute_embeddings(location, work_dir, executor, access) as (names, rows):
        evaluation = evaluate_embeddings(names, rows, labels)
    if drawing is not None:
        title = f"micro average precision {evaluation.curve.average_precision:.4f}"
        with drawing.open() as file:
            file.write(draw_svg(evaluation.curve, title).encode())
    return evaluation


def _open_plot(plot: str | os.PathLike[str], access: Access, *, overwrite: bool) -> NamedOutput:
    output = NamedOutput(plot, access, overwrite=overwrite)
    if not (output.path.lower().endswith(".svg") or output.is_stdout):
        raise ConfigError(f"plot={os.fspath(plot)!r} is not possible: SVG is the one format; name it something.svg.")
    output.check()
    return output


def evaluate_embeddings(names: list[str], rows: np.ndarray, labels: dict[str, Label]) -> Evaluation:
    """The figures of rows, (n, d) float32, with n names, as far as `labels` knows them."""
    known = [index for index, name in enumerate(names) if name in labels]
    if not known:
        raise InputError(
            f"The truth knows none of the pictures: it has such as {next(iter(labels), 'no line at all')!r}, "
            f"the features have such as {next(iter(names), 'no row at all')!r}."
        )
    there = [labels[names[index]] for index in known]
    kinds = sorted({label.edit for label in there if label.edit is not None and not label.is_original})
    counts = count_pairs(
        check_unit_length(rows[known]), _number_groups(there), np.array([_kind(label, kinds) for label in there])
    )
    if not counts.same.any():
        raise InputError("The truth has no two pictures of one group among the features: nothing to measure.")
    limits = find_bin(np.array(THRESHOLDS))
    recalls = {}
    for number, kind in enumerate(kinds):
        copies = counts.places[counts.kinds == number]
        if len(copies):
            recalls[kind] = (len(copies), (copies[:, None] > limits).mean(0).tolist())
    return Evaluation(
        Curve(counts.same, counts.other),
        images=len(known),
        unlabelled=len(names) - len(known),
        without_embedding=len(labels) - len(known),
        recalls=recalls,
    )


def _number_groups(labels: list[Label]) -> np.ndarray:
    """A number for each group; a picture without one has a number of its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(label.group or index, len(numbers)) for index, label in enumerate(labels)])


def _kind(label: Label, kinds: list[str]) -> int:
    if label.edit is None:
        return UNKNOWN
    return ORIGINAL if label.is_original else kinds.index(label.edit)


@contextmanager
def _compute_embeddings(
    location: str, work_dir: str | None, executor: str | None, access: Access
) -> Iterator[tuple[list[str], np.ndarray]]:
    store, file = open_file(location, layout.FEATURES, access)
    if store.is_file(file):
        if work_dir is not None:
            raise ConfigError(f"work_dir={work_dir!r} has no use: {location!r} has features.")
        yield _read_stored(location, access)
        return
    with tempfile.TemporaryDirectory(prefix="fastdup_ray-") as temporary:
        engine: dict[str, Any] = {} if executor is None else {"executor": executor}
        engine |= {"s3_anonymous": bool(access.anonymous), "s3_requester_pays": access.requester_pays}
        result = deduplicate(RunConfig.of(input_dir=location, work_dir=work_dir or temporary, run_mode=1, **engine))
        yield _read_stored(result.work_dir, access)


def _read_stored(location: str, access: Access) -> tuple[list[str], np.ndarray]:
    try:
        return read_features(location, access)
    except FileNotFoundError as error:
        raise InputError(str(error)) from None
