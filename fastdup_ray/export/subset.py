"""Choose a subset of the images of a run: those that are most unlike each other."""

import os
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.arrays import EmbeddingArray, FloatArray, IntArray
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.errors import ConfigError
from fastdup_ray.export.lists import write_names
from fastdup_ray.export.result_file import ResultFile
from fastdup_ray.features import check_finite
from fastdup_ray.storage import open_store
from fastdup_ray.storage.feature_rows import iter_blocks

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class SubsetResult:
    """A subset.

    Attributes:
        path: Path or URI of the file; `-` for standard output.
        count: Number of images in it.
        images: Number of images of the run.
        reach: Lowest cosine of an image of the run to the nearest one in the subset.
        is_stdout: Whether the file was written to standard output.
    """

    path: str
    count: int
    images: int
    reach: float
    is_stdout: bool = False

    def text(self) -> str:
        """Return what the command prints."""
        target = "to standard output" if self.is_stdout else self.path
        return (
            f"Wrote {target}: {self.count:,} of {self.images:,} images. "
            f"Every image has one in the subset with a similarity of {self.reach:.2f} or more."
        )


@accept_paths("work_dir", "save_path")
def select_subset(
    work_dir: Location,
    k: int,
    save_path: Location | None = None,
    *,
    null: bool = False,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> SubsetResult:
    """List the k most diverse images of a finished run, the most typical one first.

    Takes time in proportion to k times the number of images.

    Args:
        work_dir: The folder or URI of the run.
        k: Number of images; of a smaller run, all are listed.
        save_path: The file to write, or `-` for standard output; default: subset.txt in `work_dir`, which is replaced
            if it exists.
        null: End each name with NUL instead of a newline.
        overwrite: Replace `save_path` if it exists.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Raises:
        ConfigError: `k` is not a number of images.
        InputError: There is no finished run.
        WorkDirError: `save_path` exists or cannot be written.
    """
    if type(k) is not int or k < 1:
        raise ConfigError(f"Invalid value for k: {k!r} (must be a whole number of at least 1).")
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    output = ResultFile(source, layout.SUBSET_TXT, save_path, overwrite=overwrite)
    run = read_finished_run(source)
    rows, reach = choose_diverse(run.features, k)
    names = (run.names[row].as_py() for row in rows.tolist())
    with output.open() as file:
        count = write_names(file, names, b"\0" if null else b"\n")
    return SubsetResult(output.path, count, len(run.names), reach, output.is_stdout)


def choose_diverse(features: EmbeddingArray, k: int) -> tuple[IntArray, float]:
    """Choose rows so that every row is near one of them: the most typical one, then always the farthest.

    Embeddings are read block by block, once for each row that is chosen.

    Source: T. Gonzalez, Clustering to Minimize the Maximum Intercluster Distance, 1985. No choice of k rows has a
    largest distance of less than half of this one.

    Args:
        features: (n, d) float32.
        k: Number of rows.

    Returns:
        (min(k, n),) int64 rows in the order in which they were chosen, and the lowest cosine of a row to the nearest
        of them.
    """
    lengths, mean = _measure_lengths(features)
    typical = _multiply(features, mean) / lengths
    chosen: list[int] = []
    nearest = np.full(len(features), -np.inf, np.float32)
    for _ in tqdm(range(min(k, len(features))), desc="Choosing images", disable=None, leave=False):
        row = int((nearest if chosen else -typical).argmin())
        chosen.append(row)
        cosines = _multiply(features, features[np.array([row])][0])
        cosines /= lengths * lengths[row]
        np.maximum(nearest, cosines, out=nearest)
        nearest[row] = np.inf  # it is chosen
    others = nearest[np.isfinite(nearest)]
    return np.array(chosen, np.int64), round(float(others.min()), 6) if len(others) else 1.0


def _measure_lengths(features: EmbeddingArray) -> tuple[FloatArray, FloatArray]:
    """Return (n,) float32 the lengths of embeddings, not below 1e-12, and (d,) float32 the mean of their directions."""
    n, d = features.shape
    lengths, total = [np.empty(0, np.float32)], np.zeros(d, np.float32)
    for block in iter_blocks(features):
        lengths.append(np.maximum(np.linalg.norm(check_finite(block), axis=1), 1e-12))
        total += (block / lengths[-1][:, None]).sum(axis=0)
    return np.concatenate(lengths), total / np.float32(max(1, n))


def _multiply(features: EmbeddingArray, vector: FloatArray) -> FloatArray:
    """Return (n,) float32 the products of embeddings with a vector."""
    return np.concatenate([np.empty(0, np.float32), *(block @ vector for block in iter_blocks(features))])
