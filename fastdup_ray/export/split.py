"""Split a dataset so that no group of duplicates has images in two parts."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.union_find import find_roots, join_trees
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.arrays import DoubleArray, IntArray
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.duplicates import find_groups
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.curation.suggest import suggest_plan
from fastdup_ray.errors import ConfigError
from fastdup_ray.export.result_file import ResultFile
from fastdup_ray.inputs import find_boxes
from fastdup_ray.outputs.exact_copies import read_exact_copies
from fastdup_ray.storage import open_store
from fastdup_ray.storage.csv_files import write_columns
from fastdup_ray.storage.tables import TextNumbers

Location = str | os.PathLike[str]

PARTS = "train=0.8,val=0.1,test=0.1"
"""The parts, and their shares, if nothing is said."""


@dataclass(frozen=True)
class SplitResult:
    """A split.

    Attributes:
        path: Path or URI of the file; `-` for standard output.
        counts: Number of images in each part.
        groups: Number of groups of two or more images, each of which is in one part.
        is_stdout: Whether the file was written to standard output.
    """

    path: str
    counts: dict[str, int]
    groups: int
    is_stdout: bool = False

    def text(self) -> str:
        """Return what the command prints."""
        target = "to standard output" if self.is_stdout else self.path
        parts = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        return f"Wrote {target}: {parts}. Groups of duplicates: {self.groups:,}, each in one part."


@accept_paths("work_dir", "save_path")
def split_dataset(
    work_dir: Location,
    save_path: Location | None = None,
    parts: str = PARTS,
    *,
    seed: int = 0,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> SplitResult:
    """Split the images of a finished run at random into parts, such as training, validation and test.

    A group of duplicates, as `RunResult.groups` has them, is in one part as a whole, and so are the boxes of a photo.
    If the run has labels, each label has its share in each part, as far as the groups allow it. The same seed gives the
    same split of the same images, whatever their names are.

    Args:
        work_dir: The folder or URI of the run.
        save_path: The file to write, or `-` for standard output; default: split.csv in `work_dir`, which is replaced if
            it exists.
        parts: Names and shares, which add up to 1.
        seed: Number of the split.
        overwrite: Replace `save_path` if it exists.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Raises:
        ConfigError: `parts` is invalid.
        InputError: There is no finished run.
        WorkDirError: `save_path` exists or cannot be written.
    """
    shares = parse_parts(parts)
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    output = ResultFile(source, layout.SPLIT_CSV, save_path, overwrite=overwrite)
    run = read_finished_run(source)
    group = find_groups(run, suggest_plan(run), read_exact_copies(source, INDEXED, run.names, run.names))
    groups = int((np.bincount(group) > 1).sum())
    group = _join_photos(group, run.names)
    part = assign_parts(group, _encode_labels(run.images), _rank_at_random(run.images, seed), list(shares.values()))
    names = pa.array(list(shares), pa.string())
    with output.open() as file:
        write_columns(file, csv_columns.SPLIT_HEADER, [run.names, names.take(pa.array(part))])
    counts = np.bincount(part, minlength=len(shares)).tolist()
    return SplitResult(output.path, dict(zip(shares, counts, strict=True)), groups, output.is_stdout)


def parse_parts(text: str) -> dict[str, float]:
    """Parse parts such as `train=0.9,test=0.1`.

    Raises:
        ConfigError: They are not names with shares that add up to 1.
    """
    shares: dict[str, float] = {}
    for word in text.split(","):
        name, _, value = (piece.strip() for piece in word.partition("="))
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not name or name in shares or not 0 < share <= 1:
            raise ConfigError(f"Invalid value for parts: {text!r} (must be like {PARTS}, each name once).")
        shares[name] = share
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"Invalid value for parts: {text!r} (the shares add up to {sum(shares.values()):g}, not 1).")
    return shares


def assign_parts(group: IntArray, label: IntArray, rank: IntArray, shares: Sequence[float]) -> IntArray:
    """Put whole groups into parts.

    The largest groups come first, those of one size in the order of `rank`. Each goes where most images of its label
    are missing, and of those parts where most images are missing at all.

    Args:
        group: (n,) the number of the group of each image.
        label: (n,) the number of the label of each image; a group counts as its most frequent one.
        rank: (n,) a random order of the images.
        shares: Of the p parts.

    Returns:
        (n,) int64 from 0 to p - 1.
    """
    if not len(group):
        return np.empty(0, np.int64)
    _, unit = np.unique(group, return_inverse=True)
    size = np.bincount(unit)
    label_of = _find_majority(unit, label)
    first = np.full(len(size), len(group))
    np.minimum.at(first, unit, rank)
    missing: DoubleArray = np.bincount(label_of, size)[:, None] * np.asarray(shares)
    missing_at_all: DoubleArray = len(group) * np.asarray(shares)
    part = np.empty(len(size), np.int64)
    for each in np.lexsort((first, -size)).tolist():
        own = missing[label_of[each]]
        chosen = int(np.lexsort((-missing_at_all, -own))[0])
        part[each] = chosen
        own[chosen] -= size[each]
        missing_at_all[chosen] -= size[each]
    return part[unit]


def _join_photos(group: IntArray, names: pa.Array) -> IntArray:
    """Return (n,) number of the group of each image, where all boxes of a photo are in one group."""
    boxes = np.flatnonzero(find_boxes(names))
    photo_of = pc.replace_substring_regex(names.take(pa.array(boxes)), "#xywh=[^#]*$", "").dictionary_encode().indices
    _, first, photo = np.unique(photo_of.to_numpy(), return_index=True, return_inverse=True)
    parent = np.arange(group.max(initial=-1) + 1)
    if len(boxes):
        join_trees(parent, group[boxes], group[boxes[first[photo]]])
    joined: IntArray = find_roots(parent, group)
    return joined


def _find_majority(unit: IntArray, label: IntArray) -> IntArray:
    """Return the most frequent label of each unit; of equally frequent ones the lowest."""
    pairs, count = np.unique(np.stack([unit, label]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -count, pairs[0]))
    units, labels = pairs[:, order]
    _, first = np.unique(units, return_index=True)
    majority: IntArray = labels[first]
    return majority


def _encode_labels(images: pa.Table) -> IntArray:
    """Return a number for each label; images without one have a number as well."""
    if "label" not in images.column_names:
        return np.zeros(images.num_rows, np.int64)
    texts = TextNumbers()
    return np.concatenate([np.empty(0, np.int64), *(texts.encode(chunk) + 1 for chunk in images["label"].chunks)])


def _rank_at_random(images: pa.Table, seed: int) -> IntArray:
    """Return a random order of the images that depends on their bytes and a seed alone."""
    digests = bytearray()
    for chunk in images["sha256"].chunks:
        names = chunk.fill_null("").to_pylist()
        digests += b"".join(hashlib.sha256(f"{seed} {name}".encode()).digest() for name in names)
    numbers = np.frombuffer(digests, ">u8").reshape(-1, 4)
    rank = np.empty(len(numbers), np.int64)
    rank[np.lexsort(numbers.T[::-1])] = np.arange(len(numbers))
    return rank
