"""clusters.html: the clusters of a run, with their most typical images, and those whose label is another one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastdup_ray.analysis.clusters import Clusters
from fastdup_ray.common import layout
from fastdup_ray.common.access import make_access
from fastdup_ray.common.arrays import IntArray
from fastdup_ray.common.layout import INDEXED
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import InputError
from fastdup_ray.extract.thumbnails import PageImage, ThumbnailLoader
from fastdup_ray.outputs.clusters_file import read_clusters
from fastdup_ray.report.gallery_page import (
    GalleryItems,
    Location,
    check_num_images,
    choose_side,
    find_source,
    map_images,
    open_page,
    write_gallery,
)

IMAGES_PER_CLUSTER = 5
"""Most typical images of a cluster, and images of it with another label, that a gallery shows."""


@dataclass(frozen=True)
class ClusterImage:
    """An image of a cluster.

    Attributes:
        image: The image.
        value: Its similarity to the center.
        label: Its label; None if it has none.
    """

    image: PageImage
    value: str
    label: str | None


@dataclass(frozen=True)
class ClusterView:
    """A cluster of a gallery.

    Attributes:
        number: Its number in clusters.csv.
        size: Its images.
        label: Their most frequent label; None without labels.
        labels: Images with a label.
        labelled: Of these, the ones with the most frequent one.
        typical: The images nearest to the center.
        minority: Images with another label, those nearest to the center first.
    """

    number: int
    size: int
    label: str | None
    labels: int
    labelled: int
    typical: list[ClusterImage]
    minority: list[ClusterImage]


@accept_paths("work_dir", "save_path")
def create_clusters_gallery(
    work_dir: Location,
    save_path: Location | None = None,
    num_images: int = 20,
    *,
    descending: bool = True,
    thumbnails: bool | None = None,
    overwrite: bool = False,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> str:
    """Write clusters.html: the clusters that `cluster_images` found, the largest first.

    Args:
        work_dir: The work_dir of a finished run, with clusters.csv.
        save_path: The folder to write to, created if needed. Default: `work_dir`.
        num_images: Clusters to show, each with its most typical images, and those whose label is another one.
        descending: False: start with the smallest.
        thumbnails: False: names only. None: as the run did.
        overwrite: Replace a clusters.html in `save_path` that is not a page of this package.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        The path of the page.

    Raises:
        ConfigError: A parameter is invalid.
        FileNotFoundError: There is no finished run.
        InputError: There is no clusters.csv of the images of the run.
        DamagedError: An output is not what the run wrote.
        WorkDirError: The page cannot be written, or another file is in its place.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    check_num_images(num_images)
    store, name = find_source("work_dir", None, work_dir, layout.CLUSTERS_CSV, access)
    output = open_page(store, save_path, layout.CLUSTERS_HTML, overwrite=overwrite)
    names, images = map_images(store)
    clusters = read_clusters(store, names)
    if clusters is None:
        raise InputError(f"No {name} of these images in {store.location!r}: cluster them first.")
    with ThumbnailLoader(
        names, images, side=choose_side(store, INDEXED, thumbnails=thumbnails), access=access
    ) as loader:
        items = list(_view_clusters(loader, clusters, num_images, largest_first=descending))
    shown = GalleryItems(items, int((clusters.sizes > 0).sum()), "similarity")
    order = f"{'largest' if descending else 'smallest'} clusters first"
    return write_gallery(store, name, output, shown, heading="Clusters", kind="clusters", order=order)


def _view_clusters(
    loader: ThumbnailLoader, clusters: Clusters, limit: int, *, largest_first: bool
) -> Iterator[ClusterView]:
    sizes, found, is_minority = clusters.sizes, clusters.find_labels(), clusters.find_minority()
    order = np.argsort(-sizes if largest_first else sizes, kind="stable")
    for number in order[sizes[order] > 0][:limit].tolist():
        rows = np.flatnonzero(clusters.cluster == number)
        rows = rows[np.argsort(-clusters.similarity[rows], kind="stable")]
        minority = rows[is_minority[rows]]
        labels = 0 if clusters.label is None else int((clusters.label[rows] >= 0).sum())
        first, other = rows[:IMAGES_PER_CLUSTER], minority[:IMAGES_PER_CLUSTER]
        loader.request([*first.tolist(), *other.tolist()])
        yield ClusterView(
            number,
            len(rows),
            clusters.labels[found[number]] if found[number] >= 0 else None,
            labels,
            labels - len(minority),
            _view_images(loader, clusters, first),
            _view_images(loader, clusters, other),
        )


def _view_images(loader: ThumbnailLoader, clusters: Clusters, rows: IntArray) -> list[ClusterImage]:
    return [
        ClusterImage(loader[row], f"{clusters.similarity[row]:.4f}", clusters.get_label(row)) for row in rows.tolist()
    ]
