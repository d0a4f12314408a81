"""clusters.csv: which cluster each image of a run is in."""

from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.clusters import Clusters
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.arrays import AnyArray
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv, make_csv_writer, parse_numbers
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, TextNumbers, explain_damage


def write_clusters(file: BinaryIO, names: pa.Array, clusters: Clusters) -> None:
    """Write the clusters of images.

    Args:
        file: The open file.
        names: (n,) raw names.
        clusters: Of these images.
    """
    write = make_csv_writer(file, csv_columns.CLUSTERS_HEADER)
    texts, most = pa.array([*clusters.labels, ""], pa.large_string()), clusters.find_labels()
    for start in range(0, len(names), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        cluster = clusters.cluster[rows]
        own = np.full(len(cluster), -1) if clusters.label is None else clusters.label[rows]
        labels = (texts.take(pa.array(numbers % len(texts))) for numbers in (own, most[cluster]))
        write([names[rows], cluster, clusters.similarity[rows], *labels])


def read_clusters(store: Store, names: pa.Array) -> Clusters | None:
    """Read clusters.csv.

    Args:
        store: The work_dir.
        names: (n,) raw names of the images of its run.

    Returns:
        The clusters; None if there is no such file, or one of other images.

    Raises:
        DamagedError: It is not a list of clusters.
    """
    if not store.exists(layout.CLUSTERS_CSV):
        return None
    path, texts, start = store.fetch(layout.CLUSTERS_CSV), TextNumbers(), 0
    parts: list[tuple[AnyArray, ...]] = [(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int32))]
    for block in iter_csv(path, csv_columns.CLUSTERS_HEADER):
        if not block["filename"].cast(names.type).equals(names.slice(start, len(block))):
            return None
        start += len(block)
        cluster, similarity = (
            np.asarray(parse_numbers(path, block, name, kind))
            for name, kind in (("cluster", pa.int64()), ("similarity", pa.float64()))
        )
        with explain_damage(path):
            labels = block["label"].cast(pa.large_string())
        parts.append((cluster, similarity, texts.encode(pc.if_else(pc.equal(labels, ""), None, labels))))
    if start < len(names):
        return None
    cluster, similarity, label = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if ((cluster < 0) | (cluster >= len(cluster))).any():
        raise DamagedError(f"{path} is damaged: clusters are numbered from 0.")
    return Clusters(cluster, similarity, label if texts.texts else None, texts.texts)
