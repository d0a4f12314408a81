"""Cluster the images of a run: images that look alike without being duplicates."""

import os
from dataclasses import dataclass, replace

import numpy as np

from fastdup_ray.analysis.clusters import Clusters, choose_count, find_clusters
from fastdup_ray.analysis.projection import choose_rows
from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.curation.finished_run import read_finished_run
from fastdup_ray.errors import ConfigError
from fastdup_ray.export.result_file import ResultFile
from fastdup_ray.features import read_unit_rows
from fastdup_ray.outputs.clusters_file import write_clusters
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import TextNumbers

Location = str | os.PathLike[str]

SAMPLE = 50_000
"""Embeddings by which the centers are placed."""

_BLOCK = 16_384
"""Embeddings that are compared with the centers at a time."""


@dataclass(frozen=True)
class ClusterResult:
    """The clusters of a run.

    Attributes:
        path: Path or URI of the file; `-` for standard output.
        clusters: Number of clusters.
        images: Number of images.
        largest: Images in the largest cluster.
        labelled: Images with a label.
        minority: Of these, the ones with another label than most of their cluster.
        is_stdout: Whether the file was written to standard output.
    """

    path: str
    clusters: int
    images: int
    largest: int
    labelled: int
    minority: int
    is_stdout: bool = False

    @property
    def purity(self) -> float | None:
        """Share of the labels that are those of most of their cluster, 0 to 1; None without labels."""
        return 1 - self.minority / self.labelled if self.labelled else None

    def text(self) -> str:
        """Return what the command prints."""
        target = "to standard output" if self.is_stdout else self.path
        told = f"Wrote {target}: {self.clusters:,} clusters of {self.images:,} images, {self.largest:,} in the largest."
        if self.purity is None:
            return told
        return f"{told} {self.minority:,} of {self.labelled:,} labels differ from those of most of their cluster."


@accept_paths("work_dir", "save_path")
def cluster_images(
    work_dir: Location,
    k: int | None = None,
    save_path: Location | None = None,
    *,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> ClusterResult:
    """Cluster the images of a finished run by k-means of their embeddings.

    The centers are placed by a sample of 50,000 images; then each image is put into the cluster of its nearest center.
    If the run has labels, each cluster has the most frequent one of its images.

    Args:
        work_dir: The folder or URI of the run.
        k: Number of clusters; None: the root of half of the number of images, at most 1,000.
        save_path: The file to write, or `-` for standard output; default: clusters.csv in `work_dir`, which is replaced
            if it exists.
        overwrite: Replace `save_path` if it exists.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Raises:
        ConfigError: `k` is not a number of clusters.
        InputError: There is no finished run.
        WorkDirError: `save_path` exists or cannot be written.
    """
    if k is not None and (type(k) is not int or k < 1):
        raise ConfigError(f"Invalid value for k: {k!r} (must be a whole number of at least 1).")
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    source = open_store(os.path.expanduser(work_dir), access)
    output = ResultFile(source, layout.CLUSTERS_CSV, save_path, overwrite=overwrite)
    run = read_finished_run(source)
    n = len(run.names)
    blocks = (read_unit_rows(run.features, np.arange(start, min(start + _BLOCK, n))) for start in range(0, n, _BLOCK))
    sample = read_unit_rows(run.features, choose_rows(n, SAMPLE))
    clusters = find_clusters(sample, blocks, k or choose_count(n))
    if "label" in run.images.column_names:
        texts = TextNumbers()
        label = np.concatenate([texts.encode(chunk) for chunk in run.images["label"].chunks])
        clusters = replace(clusters, label=label, labels=texts.texts)
    with output.open() as file:
        write_clusters(file, run.names, clusters)
    return _count(output, clusters)


def _count(output: ResultFile, clusters: Clusters) -> ClusterResult:
    sizes = clusters.sizes
    labelled = 0 if clusters.label is None else int((clusters.label >= 0).sum())
    minority = int(clusters.find_minority().sum())
    counts = int((sizes > 0).sum()), len(clusters.cluster), int(sizes.max()), labelled, minority
    return ClusterResult(output.path, *counts, output.is_stdout)
