"""`RunConfig`: the one definition of every parameter.

The keywords in Python, the flags of the command line and their help, `config.json` and the page of the parameters are
made from it. `parameter_types.py` has the types of its fields.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.formatting import format_value
from fastdup_ray.common.label_sources import FOLDER, parse_label_file
from fastdup_ray.common.locations import SUPPORTED, is_remote, refuse_read_only, refuse_secrets, to_absolute
from fastdup_ray.common.names import is_utf8, to_utf8
from fastdup_ray.common.records import Limits
from fastdup_ray.errors import ConfigError
from fastdup_ray.parameter_types import (
    MODELS,
    TURI_NAMES,
    BoxText,
    Count,
    FaissMode,
    Globs,
    InputDir,
    Inputs,
    Invariances,
    Location,
    ModelName,
    ModelPath,
    NNModel,
    Offset,
    RunMode,
    Switch,
    UnitInterval,
    Verify,
    format_error,
    merge_turi_param,
    parse_box,
    to_number,
)
from fastdup_ray.system.cores import count_cores

AUTO = "auto"
"""The `faiss_mode` that chooses an index by the number of images, k, memory and GPU."""


INPUT_KINDS = "a folder, image, video, archive, Parquet file, dataset, or list of paths"
"""What an input can be, for messages."""


def _check_work_dir(value: str) -> str:
    """Refuse a path that is not UTF-8: Arrow and faiss take a path as UTF-8, whatever the locale is."""
    path = to_absolute(value)
    if not is_utf8(path):
        raise ValueError("its path is not UTF-8; name another folder")
    if to_utf8(path) != path:
        raise ValueError("this locale is not UTF-8; start Python with -X utf8, or name a folder in ASCII")
    return value


def _resolve_labels(value: str) -> str:
    """Return an absolute path: the process that writes the outputs may have another current folder."""
    is_path = value != FOLDER and (parse_label_file(value) is None or os.path.isfile(value))
    return os.path.abspath(value) if is_path else value


def _resolve_annotations(value: str) -> str:
    """Return an absolute path, as `_resolve_labels` does; a URI as it is."""
    return value if "://" in value else os.path.abspath(value)


class RunConfig(BaseModel):
    """The parameters of a run, validated. `of` makes one from keywords, `from_text` from a command line."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    input_dir: Annotated[
        InputDir | None,
        Field(
            description="A folder, image, video, archive, Parquet file, or list of paths; in Python also many of these."
        ),
    ] = None
    work_dir: Annotated[Location, AfterValidator(_check_work_dir), Field(description="Where outputs are written.")] = (
        "fastdup_out"
    )
    compute: Annotated[Literal["cpu", "gpu"], Field(description="Run the model on CPU or GPU.")] = "cpu"
    verbose: Annotated[Switch, Field(description="Show each step of the run, and details of the result.")] = False
    num_threads: Annotated[
        int, Field(ge=-1, description="Total number of threads on this machine; -1: all cores the process may use.")
    ] = -1
    num_images: Annotated[int, Field(ge=-1, description="Use only the first N images; -1 or 0: all.")] = -1
    turi_param: Annotated[
        str,
        Field(
            description=f"Parameters for turi, separated by commas: {', '.join(f'{name}=…' for name in TURI_NAMES)}."
        ),
    ] = ""
    distance: Annotated[
        Literal["cosine", "euclidean", "squared_euclidean", "manhattan"],
        Field(description="Metric of the search, and of the column distance."),
    ] = "cosine"
    threshold: Annotated[UnitInterval, Field(description="Keep pairs more similar than this (0–1).")] = 0.85
    lower_threshold: Annotated[
        UnitInterval, Field(description="Images whose nearest neighbor is less similar than this are outliers (0–1).")
    ] = 0.3
    model_path: Annotated[ModelPath | None, Field(description="Use your own ONNX embedding model.")] = None
    version: Annotated[Switch, Field(description="Print the version and exit.")] = False
    nearest_neighbors_k: Annotated[Count, Field(description="Number of neighbors per image.")] = 2
    run_mode: Annotated[
        RunMode,
        Field(
            description="0: everything; 1: embeddings only; 2: from stored embeddings on; "
            "3: search new images in a stored index; 4: search stored embeddings in it."
        ),
    ] = 0
    nn_provider: Annotated[Literal["faiss", "turi"], Field(description="Nearest-neighbor backend.")] = "faiss"
    min_offset: Annotated[Offset, Field(description="First entry of the input list to use, from 0.")] = None
    max_offset: Annotated[Offset, Field(description="Stop before this entry of the input list.")] = None
    faiss_mode: Annotated[
        FaissMode | None,
        Field(
            description="Index: Flat, HNSW32, any faiss index such as IVF256,Flat, or partitioned; auto or not given: "
            "chosen by the number of images, k and memory."
        ),
    ] = None
    faiss_param: Annotated[str, Field(description="Faiss parameters, such as efSearch=175,nprobe=32.")] = ""
    bounding_box: Annotated[
        BoxText | None,
        Field(description="Crop each image to this box first, in pixels: rows=100,cols=100,width=250,height=310."),
    ] = None

    nnmodel: Annotated[
        NNModel, Field(description="Search method of turi; 0, 1 and 2 mean the same. No effect with faiss.")
    ] = "brute_force"
    ccthreshold: Annotated[
        UnitInterval, Field(description="Join images more similar than this in one component (0–1).")
    ] = 0.96
    run_cc: Annotated[Switch, Field(description="Write the connected components.")] = True
    run_pagerank: Annotated[Switch, Field(description="Fill the column pagerank.")] = True
    run_degree: Annotated[Switch, Field(description="Fill the column degree.")] = True

    labels: Annotated[
        Annotated[Location, AfterValidator(_resolve_labels)] | None,
        Field(
            description="Labels of the images: a CSV with the columns filename and label, the word folder to use the "
            "name of the folder of each image, or an extension, such as .cls, .txt or .json:caption, to use the file "
            "beside each image."
        ),
    ] = None

    annotations: Annotated[
        Annotated[Location, AfterValidator(_resolve_annotations)] | None,
        Field(
            description="Use each box as an image, of a COCO file, a CSV with the columns filename, x, y, width, "
            "height and label, or a folder with labels of YOLO, or its data.yaml; input_dir is where the photos are."
        ),
    ] = None

    reference: Annotated[
        Inputs,
        Field(
            description="Originals: an input that is always kept, never suggested for removal (repeatable).",
            json_schema_extra={"items": {"type": "string", "title": "INPUT"}},
        ),
    ] = []
    invariant: Annotated[
        Invariances,
        Field(
            description="Also match mirrored (flip) or rotated (rotate) duplicates, or both (flip,rotate), in "
            "similarity_invariant.csv.",
            json_schema_extra={"items": {"type": "string", "title": "flip,rotate"}},
        ),
    ] = []
    incremental: Annotated[
        Switch, Field(description="Also write what is new since the last run on this work_dir to changes.csv.")
    ] = False
    estimate: Annotated[
        Switch, Field(description="Print how many objects, requests, bytes and dollars a run would take, and exit.")
    ] = False
    log_format: Annotated[
        Literal["text", "json", "quiet"],
        Field(
            description="Text for people, one JSON line per step, or quiet: only warnings, errors and the path of the "
            "report."
        ),
    ] = "text"

    model: Annotated[
        ModelName | None, Field(description="Embedding model: default, fast, or the path of an ONNX file.")
    ] = None
    verify: Annotated[
        Verify | None,
        Field(
            description="Compare similar images again in full detail, and say how they are related: candidates; all "
            "(low similarities, too); off. Not given: candidates in modes 0 and 2, with an embedded model and without "
            "a bounding box, up to ten million images."
        ),
    ] = None
    executor: Annotated[
        Literal["auto", "local", "ray", "inline"],
        Field(
            description="Where the run works. local: on this machine without Ray, with images decoded in child "
            "processes; ray; inline: all in this process; auto: ray on clusters, on GPUs and for more than 10,000 "
            "images, else local."
        ),
    ] = "auto"
    shard_size: Annotated[
        int | None, Field(ge=1, description="Images per shard; not given: chosen by the number of images.")
    ] = None
    num_actors: Annotated[int | None, Field(ge=1, description="Extract actors; not given: one per core.")] = None
    include: Annotated[
        Globs, Field(description="Use only what matches a glob, such as *.jpg or 2024/** (repeatable).")
    ] = []
    exclude: Annotated[
        Globs, Field(description="Leave out what matches a glob, and everything below it (repeatable).")
    ] = []
    min_size: Annotated[
        int, Field(ge=2, description="Skip images whose shorter side has fewer pixels than this (TOO_SMALL).")
    ] = 2
    max_pixels: Annotated[Count, Field(description="Skip images with more pixels than this (TOO_LARGE).")] = 178_956_970
    video_fps: Annotated[
        float, Field(gt=0, le=1000, allow_inf_nan=False, description="Frames to use per second of a video.")
    ] = 1.0
    max_frames: Annotated[Count, Field(description="Skip videos with more frames than this.")] = 100_000
    image_timeout: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="Time limit for an image, or a frame, in seconds.")
    ] = 60.0
    actor_memory: Annotated[
        int, Field(ge=256, description="Memory limit of an extract actor in MiB; images that need more are skipped.")
    ] = 4096
    partition_copies: Annotated[
        int, Field(ge=1, le=16, description="Partitioned search: cells per image, on average.")
    ] = 3
    partition_memory: Annotated[
        int, Field(ge=1024, description="Partitioned search: memory limit of a worker in MiB.")
    ] = 4096
    largest_features_file: Annotated[
        int,
        Field(
            ge=0,
            description=(
                "Most MiB of embeddings that are written as one file, features.dat; more are kept in parts, in "
                "features.parts."
            ),
        ),
    ] = 8192
    s3_anonymous: Annotated[
        Switch, Field(description="Read public buckets without credentials; the default where there are none.")
    ] = False
    s3_requester_pays: Annotated[Switch, Field(description="Pay for reads from requester-pays buckets.")] = False
    report: Annotated[Switch, Field(description="Write report/index.html.")] = True
    thumbnails: Annotated[
        Switch, Field(description="Put thumbnails into the report; without them it shows file names only.")
    ] = True
    reuse: Annotated[Switch, Field(description="Reuse embeddings that the work_dir already has.")] = True
    overwrite: Annotated[Switch, Field(description="Replace results from a different set of images.")] = False

    @classmethod
    def of(cls, **parameters: Any) -> Self:
        """Validate keywords.

        Raises:
            ConfigError: With one line that names the parameter, the value, and what is allowed.
        """
        return cls._validate(parameters, from_text=False)

    @classmethod
    def from_text(cls, parameters: dict[str, Any]) -> Self:
        """Validate the words of a command line, where `'0.9'` is a number; raise `ConfigError` as `of` does."""
        return cls._validate(parameters, from_text=True)

    @classmethod
    def _validate(cls, parameters: dict[str, Any], *, from_text: bool) -> Self:
        given = parameters if from_text else {name: to_number(value) for name, value in parameters.items()}
        merged = merge_turi_param(given, cls.model_fields, from_text=from_text)
        try:
            config = cls.model_validate(merged, strict=not from_text)
        except ValidationError as error:
            raise ConfigError(
                format_error(error.errors()[0], cls.model_fields, parameters, from_text=from_text)
            ) from None
        _check_combinations(config)
        updates: dict[str, Any] = {}
        if config.model is not None:
            updates |= {"model": None, "model_path": MODELS.get(config.model, config.model)}
        if config.annotations:  # their names are relative to it, in other processes and in later commands as well
            updates["input_dir"] = to_absolute(config.inputs[-1])
        return config.model_copy(update=updates) if updates else config

    @property
    def inputs(self) -> list[str]:
        """`reference` and `input_dir` as one list; of an image that is in both, the first counts."""
        own = [self.input_dir] if isinstance(self.input_dir, str) else list(self.input_dir or [])
        return [*self.reference, *own]

    @property
    def s3_access(self) -> Access:
        """How to access buckets."""
        return make_access(anonymous=self.s3_anonymous, requester_pays=self.s3_requester_pays)

    @property
    def cores(self) -> int:
        """`num_threads`, or the cores that affinity and cgroup leave to this process."""
        return self.num_threads if self.num_threads > 0 else count_cores()

    @property
    def features_file_bytes(self) -> int:
        """`largest_features_file` in bytes."""
        return self.largest_features_file << 20

    @property
    def limits(self) -> Limits:
        """What is used of each image, and which images are skipped."""
        box = parse_box(self.bounding_box) if self.bounding_box else None
        return Limits(self.max_pixels, self.min_size, self.video_fps, self.max_frames, box)


def _check_combinations(config: RunConfig) -> None:
    """Raise `ConfigError` for values that exclude each other."""
    mode, low, high = config.run_mode, config.min_offset, config.max_offset
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"Invalid value for min_offset: {low} (must be less than max_offset={high}).")
    if not config.input_dir and mode != 2 and not config.version:
        raise ConfigError(f"input_dir is missing: name {INPUT_KINDS}.")
    if Path(config.work_dir).is_file() and mode != 2:
        raise ConfigError(f"Invalid value for work_dir: {config.work_dir!r} (is a file; name a folder).")
    if config.model is not None and config.model_path is not None:
        raise ConfigError(f"model={config.model!r} and model_path={config.model_path!r} exclude each other.")
    if config.log_format == "quiet" and config.verbose:
        raise ConfigError("log_format='quiet' and verbose=1 exclude each other.")
    if config.invariant and mode != 0:
        value = ",".join(config.invariant)
        raise ConfigError(
            f"Invalid value for invariant: {value!r} (needs run_mode=0; run_mode={mode} has no use for it)."
        )
    if config.reference and mode in (3, 4):
        reason = f"run_mode={mode} takes none: the indexed images are the originals"
        raise ConfigError(f"Invalid value for reference: {format_value(config.reference)} ({reason}).")
    if mode == 4 and config.inputs:
        _check_mode_4(config)
    if config.annotations:
        _check_annotations(config)
    refuse_read_only(config.work_dir)
    for location in (config.work_dir, *config.inputs, *filter(None, [config.annotations])):
        if is_remote(location):
            refuse_secrets(location)
        elif "://" in location:
            raise ConfigError(f"{location!r}: unsupported URI; {SUPPORTED}.")


def _check_annotations(config: RunConfig) -> None:
    if not isinstance(config.input_dir, str) and len(config.input_dir or []) != 1:
        raise ConfigError(
            f"Invalid value for annotations: {config.annotations!r} (needs one input_dir, where the photos are)."
        )
    if config.bounding_box:
        raise ConfigError("annotations and bounding_box exclude each other: both say which part of a photo is used.")
    if config.run_mode == 4:
        raise ConfigError(f"Invalid value for annotations: {config.annotations!r} (run_mode=4 reads no images).")


def _check_mode_4(config: RunConfig) -> None:
    if len(config.inputs) > 1:
        raise ConfigError(
            f"Invalid value for input_dir: {format_value(config.input_dir)} (run_mode=4 takes one features file)."
        )
    given = {"num_images": config.num_images > 0}
    given |= {name: getattr(config, name) is not None for name in ("min_offset", "max_offset")}
    for name in filter(given.get, given):
        raise ConfigError(
            f"Invalid value for {name}: {getattr(config, name)} (run_mode=4 uses the whole features file)."
        )
