"""clusters.csv: which cluster each image of a run is in."""

from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.clusters import Clusters
from fastdup_ray.common import csv_columns, layout
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import parse_numbers, read_csv, write_columns
from fastdup_ray.storage.tables import explain_damage


def write_clusters(file: BinaryIO, names: pa.Array, clusters: Clusters) -> None:
    """Write the clusters of images.

    Args:
        file: The open file.
        names: (n,) raw names.
        clusters: Of these images.
    """
    none = pa.nulls(len(names), pa.string())
    labels = none if clusters.labels is None else clusters.labels
    found = pa.array(clusters.find_labels(), pa.string()).take(pa.array(clusters.cluster))
    columns = [names, clusters.cluster, clusters.similarity, pc.fill_null(labels, ""), pc.fill_null(found, "")]
    write_columns(file, csv_columns.CLUSTERS_HEADER, columns)


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
    path = store.fetch(layout.CLUSTERS_CSV)
    table = read_csv(path, csv_columns.CLUSTERS_HEADER)
    if not table["filename"].combine_chunks().cast(names.type).equals(names):
        return None
    cluster = np.asarray(parse_numbers(path, table, "cluster", pa.int64()).to_numpy())
    if not np.isin(cluster, np.arange(len(cluster))).all():
        raise DamagedError(f"{path} is damaged: clusters are numbered from 0.")
    similarity = parse_numbers(path, table, "similarity", pa.float64()).to_numpy()
    with explain_damage(path):
        labels = table["label"].cast(pa.string()).combine_chunks()
    labels = pc.if_else(pc.equal(labels, ""), None, labels)
    return Clusters(cluster, similarity, None if labels.null_count == len(labels) else labels)
