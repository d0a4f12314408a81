# Made by `python -m tests.docs.generate` from the code: do not edit.
"""The public names of `fastdup_ray`, for editors and type checkers; see `__init__.py`."""

import os
from collections.abc import Iterable
from typing import Literal, overload

from fastdup_ray.common.path_lists import DataFrame
from fastdup_ray.config import RunConfig as RunConfig
from fastdup_ray.curation.apply import ApplyResult as ApplyResult
from fastdup_ray.curation.apply import apply_plan as apply_plan
from fastdup_ray.curation.dataset import DatasetResult as DatasetResult
from fastdup_ray.curation.dataset import build_dataset as build_dataset
from fastdup_ray.curation.make_plan import make_plan as make_plan
from fastdup_ray.curation.undo import UndoResult as UndoResult
from fastdup_ray.curation.undo import undo as undo
from fastdup_ray.errors import FastdupError as FastdupError
from fastdup_ray.evaluation.leakage import Leakage as Leakage
from fastdup_ray.evaluation.leakage import leakage as leakage
from fastdup_ray.export import export as export
from fastdup_ray.export.clusters import ClusterResult as ClusterResult
from fastdup_ray.export.clusters import cluster_images as cluster_images
from fastdup_ray.export.split import SplitResult as SplitResult
from fastdup_ray.export.split import split_dataset as split_dataset
from fastdup_ray.export.subset import SubsetResult as SubsetResult
from fastdup_ray.export.subset import select_subset as select_subset
from fastdup_ray.features.binary_features import load_binary as load_binary
from fastdup_ray.features.binary_features import load_binary_feature as load_binary_feature
from fastdup_ray.features.binary_features import load_binary_features as load_binary_features
from fastdup_ray.features.binary_features import save_binary_feature as save_binary_feature
from fastdup_ray.model_export import ModelExportResult as ModelExportResult
from fastdup_ray.model_export import export_model as export_model
from fastdup_ray.report.cluster_gallery import create_clusters_gallery as create_clusters_gallery
from fastdup_ray.report.embedding_map import create_embedding_map as create_embedding_map
from fastdup_ray.report.galleries import create_components_gallery as create_components_gallery
from fastdup_ray.report.galleries import create_duplicates_gallery as create_duplicates_gallery
from fastdup_ray.report.galleries import create_outliers_gallery as create_outliers_gallery
from fastdup_ray.report.galleries import generate_duplicates_gallery as generate_duplicates_gallery
from fastdup_ray.report.image_galleries import create_similarity_gallery as create_similarity_gallery
from fastdup_ray.report.image_galleries import create_stats_gallery as create_stats_gallery
from fastdup_ray.report.regenerate import make_pages as make_pages
from fastdup_ray.result import RunResult as RunResult
from fastdup_ray.verify.compare import Comparison as Comparison
from fastdup_ray.verify.compare import compare as compare

StrPath = str | os.PathLike[str]

__version__: str

def run(
    input_dir: StrPath | Iterable[StrPath] | DataFrame | None = None,
    work_dir: StrPath = "fastdup_out",
    compute: Literal["cpu", "gpu"] = "cpu",
    verbose: bool = False,
    num_threads: int = -1,
    num_images: int = -1,
    turi_param: str = "",
    distance: Literal["cosine", "euclidean", "squared_euclidean", "manhattan"] = "cosine",
    threshold: float = 0.85,
    lower_threshold: float = 0.3,
    model_path: StrPath | None = None,
    version: bool = False,
    nearest_neighbors_k: int = 2,
    run_mode: int = 0,
    nn_provider: Literal["faiss", "turi"] = "faiss",
    min_offset: int | None = None,
    max_offset: int | None = None,
    faiss_mode: str | None = None,
    faiss_param: str = "",
    bounding_box: str | None = None,
    nnmodel: Literal["brute_force", "ball_tree", "lsh"] = "brute_force",
    ccthreshold: float = 0.96,
    run_cc: bool = True,
    run_pagerank: bool = True,
    run_degree: bool = True,
    labels: StrPath | None = None,
    annotations: StrPath | None = None,
    reference: StrPath | Iterable[StrPath] | DataFrame = [],
    invariant: Iterable[str] = [],
    incremental: bool = False,
    estimate: bool = False,
    log_format: Literal["text", "json", "quiet"] = "text",
    model: StrPath | None = None,
    verify: Literal["off", "candidates", "all"] | None = None,
    executor: Literal["auto", "local", "ray", "inline"] = "auto",
    shard_size: int | None = None,
    num_actors: int | None = None,
    include: Iterable[str] = [],
    exclude: Iterable[str] = [],
    min_size: int = 2,
    max_pixels: int = 178956970,
    video_fps: float = 1.0,
    max_frames: int = 100000,
    image_timeout: float = 60.0,
    actor_memory: int = 4096,
    partition_copies: int = 3,
    partition_memory: int = 4096,
    largest_features_file: int = 8192,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
    report: bool = True,
    thumbnails: bool = True,
    reuse: bool = True,
    overwrite: bool = False,
) -> int: ...
@overload
def deduplicate(config: RunConfig, /) -> RunResult: ...
@overload
def deduplicate(
    input_dir: StrPath | Iterable[StrPath] | DataFrame | None = None,
    work_dir: StrPath = "fastdup_out",
    compute: Literal["cpu", "gpu"] = "cpu",
    verbose: bool = False,
    num_threads: int = -1,
    num_images: int = -1,
    turi_param: str = "",
    distance: Literal["cosine", "euclidean", "squared_euclidean", "manhattan"] = "cosine",
    threshold: float = 0.85,
    lower_threshold: float = 0.3,
    model_path: StrPath | None = None,
    nearest_neighbors_k: int = 2,
    run_mode: int = 0,
    nn_provider: Literal["faiss", "turi"] = "faiss",
    min_offset: int | None = None,
    max_offset: int | None = None,
    faiss_mode: str | None = None,
    faiss_param: str = "",
    bounding_box: str | None = None,
    nnmodel: Literal["brute_force", "ball_tree", "lsh"] = "brute_force",
    ccthreshold: float = 0.96,
    run_cc: bool = True,
    run_pagerank: bool = True,
    run_degree: bool = True,
    labels: StrPath | None = None,
    annotations: StrPath | None = None,
    reference: StrPath | Iterable[StrPath] | DataFrame = [],
    invariant: Iterable[str] = [],
    incremental: bool = False,
    log_format: Literal["text", "json", "quiet"] = "text",
    model: StrPath | None = None,
    verify: Literal["off", "candidates", "all"] | None = None,
    executor: Literal["auto", "local", "ray", "inline"] = "auto",
    shard_size: int | None = None,
    num_actors: int | None = None,
    include: Iterable[str] = [],
    exclude: Iterable[str] = [],
    min_size: int = 2,
    max_pixels: int = 178956970,
    video_fps: float = 1.0,
    max_frames: int = 100000,
    image_timeout: float = 60.0,
    actor_memory: int = 4096,
    partition_copies: int = 3,
    partition_memory: int = 4096,
    largest_features_file: int = 8192,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
    report: bool = True,
    thumbnails: bool = True,
    reuse: bool = True,
    overwrite: bool = False,
) -> RunResult: ...
