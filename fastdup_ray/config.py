"""`RunConfig`: the one definition of every parameter.

The Python keywords, the command line's flags, their help and config.json are all made from it.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from fastdup_ray.common.names import is_utf8, to_utf8
from fastdup_ray.common.paths import to_path_text
from fastdup_ray.common.records import MIN_SIDE, Box, Limits
from fastdup_ray.errors import ConfigError
from fastdup_ray.s3 import Access, is_s3, make_access, refuse_secrets, to_absolute
from fastdup_ray.system.cores import count_cores

RunMode = Annotated[int, Field(ge=0, le=4)]
NNMODELS = ("brute_force", "ball_tree", "lsh")
AUTO = "auto"
TURI_NAMES = ("nnmodel", "ccthreshold", "run_cc", "run_pagerank", "run_degree")


def _parse_input(value: Any) -> str | list[str] | None:
    return [to_path_text(item) for item in value] if isinstance(value, (list, tuple)) else to_path_text(value)


def _parse_inputs(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def _parse_patterns(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else value


def _split_commas(value: Any) -> Any:
    """`'a,b'`, or several such texts, as a list."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return sorted({part.strip() for item in value for part in item.split(",") if part.strip()})
    return value


def _parse_switch(value: Any) -> Any:
    """0 and 1, as numbers or as text."""
    return bool(int(value)) if type(value) in (int, str) and str(value) in ("0", "1") else value


def _check_nnmodel(value: Any) -> Any:
    text = str(value)
    return NNMODELS[int(text)] if text in ("0", "1", "2") else value


def _parse_work_dir(value: str) -> str:
    """Arrow and faiss write there, and take a path as UTF-8, whatever the locale is."""
    path = to_absolute(value)
    if not is_utf8(path):
        raise ValueError("the bytes of its path are not UTF-8; name another folder")
    if to_utf8(path) != path:
        raise ValueError("this locale is not UTF-8; start Python with -X utf8, or name a folder in ASCII")
    return value


def _parse_labels(value: str) -> str:
    """An absolute path: whoever writes the outputs may have another current folder."""
    return value if value == "folder" else os.path.abspath(value)


def _parse_offset(value: int) -> int | None:
    return None if value == -1 else value


def _parse_faiss_mode(value: str) -> str:
    return value.replace("HSNW", "HNSW")  # the specification's own spelling


def _normalize_box(value: str) -> str | None:
    """The same in one spelling, so that two runs with one box share their features."""
    return str(parse_box(value)) if value else None


# A str of pydantic's own cannot hold the bytes of a name that are not UTF-8.
Location = Annotated[str, PlainValidator(to_path_text, json_schema_input_type=str)]
Switch = Annotated[bool, BeforeValidator(_parse_switch)]
UnitInterval = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Offset = Annotated[Annotated[int, Field(ge=-1), AfterValidator(_parse_offset)] | None, Field(default=None)]
Count = Annotated[int, Field(ge=1)]
Invariance = Literal["flip", "rotate"]
Patterns = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_parse_patterns)]


class RunConfig(BaseModel):
    """What a run is asked to do. `RunConfig.of(**parameters)` turns pydantic's errors into one line."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    input_dir: Annotated[
        Annotated[str | list[str], PlainValidator(_parse_input, json_schema_input_type=str | list[str])] | None,
        Field(description="A folder, a picture, video, archive or list file, or (in Python) a list of these."),
    ] = None
    work_dir: Annotated[
        Location, AfterValidator(_parse_work_dir), Field(description="Where the outputs are written.")
    ] = "fastdup_out"
    compute: Annotated[Literal["cpu", "gpu"], Field(description="What the model runs on.")] = "cpu"
    verbose: Annotated[Switch, Field(description="Say more about what is going on.")] = False
    num_threads: Annotated[
        int, Field(ge=-1, description="Threads in total on this machine; -1: the cores this process may use.")
    ] = -1
    num_images: Annotated[
        int, Field(ge=-1, description="Take the first so many entries of the list; -1 or 0: all.")
    ] = -1
    turi_param: Annotated[
        str,
        Field(description="Parameters for turi: " + ", ".join(f"{n}=…" for n in TURI_NAMES) + ", with commas between."),
    ] = ""
    distance: Annotated[
        Literal["cosine", "euclidean", "squared_euclidean", "manhattan"], Field(description="The metric.")
    ] = "cosine"
    threshold: Annotated[UnitInterval, Field(description="Pairs with a cosine above it are stored.")] = 0.85
    lower_threshold: Annotated[
        UnitInterval, Field(description="An image whose closest neighbour has a cosine below it is an outlier.")
    ] = 0.3
    model_path: Annotated[Location | None, Field(description="Another ONNX model: a picture in, one row out.")] = None
    version: Annotated[Switch, Field(description="Print the version and do nothing else.")] = False
    nearest_neighbors_k: Annotated[Count, Field(description="Neighbours to look for, for each image.")] = 2
    run_mode: Annotated[
        RunMode,
        Field(
            description="0: everything; 1: features only; 2: from stored features on; "
            "3: score new images against a stored index; 4: score stored features against it."
        ),
    ] = 0
    nn_provider: Annotated[Literal["faiss", "turi"], Field(description="Who looks for the neighbours.")] = "faiss"
    min_offset: Annotated[Offset, Field(description="First entry of the list to take, from 0.")] = None
    max_offset: Annotated[Offset, Field(description="Entry of the list to stop before.")] = None
    faiss_mode: Annotated[
        str | None,
        AfterValidator(lambda value: value and _parse_faiss_mode(value)),
        Field(
            min_length=1,
            description="HNSW32, Flat, any faiss index such as IVF256,Flat, or partitioned; auto or not given: "
            "picked by the number of images, k and memory.",
        ),
    ] = None
    faiss_param: Annotated[str, Field(description="Faiss parameters, such as efSearch=175,nprobe=32.")] = ""
    bounding_box: Annotated[
        Annotated[str, AfterValidator(_normalize_box)] | None,
        Field(description="Crop every upright image to this first, in pixels: rows=100,cols=100,width=250,height=310."),
    ] = None

    nnmodel: Annotated[
        Literal["brute_force", "ball_tree", "lsh"],
        BeforeValidator(_check_nnmodel),
        Field(description="How turi looks for neighbours; 0, 1, 2 mean the same. No effect under faiss."),
    ] = "brute_force"
    ccthreshold: Annotated[
        UnitInterval, Field(description="Images with a cosine above it are joined in one component.")
    ] = 0.96
    run_cc: Annotated[Switch, Field(description="Write the connected components.")] = True
    run_pagerank: Annotated[Switch, Field(description="Fill the column pagerank.")] = True
    run_degree: Annotated[Switch, Field(description="Fill the column degree.")] = True

    labels: Annotated[
        Annotated[Location, AfterValidator(_parse_labels)] | None,
        Field(
            description="Labels of the pictures: a CSV with the columns filename and label, or the word folder, "
            "which takes the name of each picture's folder."
        ),
    ] = None

    reference: Annotated[
        list[Location],
        BeforeValidator(_parse_inputs),
        Field(
            description="One more input, whose pictures are the originals: they go first, and are never given up; "
            "may be given several times.",
            json_schema_extra={"items": {"type": "string", "title": "PLACE"}},
        ),
    ] = []
    invariant: Annotated[
        list[Invariance],
        BeforeValidator(_split_commas),
        Field(
            description="Also look for pictures that are others mirrored (flip), turned by 90, 180 or 270 degrees "
            "(rotate), or both (flip,rotate), into similarity_invariant.csv.",
            json_schema_extra={"items": {"type": "string", "title": "flip,rotate"}},
        ),
    ] = []
    incremental: Annotated[
        Switch, Field(description="Also write what is new since the last run on this work_dir, into changes.csv.")
    ] = False
    estimate: Annotated[
        Switch, Field(description="Only tell how many objects, requests, bytes and dollars a run would take.")
    ] = False
    log_format: Annotated[
        Literal["text", "json"], Field(description="Sentences for people, or a JSON line for each step.")
    ] = "text"

    executor: Annotated[
        Literal["ray", "inline"], Field(description="Where the work is done: on Ray, or in this process.")
    ] = "ray"
    shard_size: Annotated[
        int | None, Field(ge=1, description="Images in a shard; not given: by the list's length.")
    ] = None
    num_actors: Annotated[int | None, Field(ge=1, description="Extract actors; not given: one for each core.")] = None
    include: Annotated[
        Patterns,
        Field(description="Take only what matches a glob, such as *.jpg or 2024/**; may be given several times."),
    ] = []
    exclude: Annotated[
        Patterns, Field(description="Leave out what matches a glob, with all below it; may be given several times.")
    ] = []
    min_size: Annotated[
        int, Field(ge=2, description="Pictures whose shorter side has fewer pixels are bad (TOO_SMALL).")
    ] = 2
    max_pixels: Annotated[Count, Field(description="Pictures with more pixels are bad (TOO_LARGE).")] = 178_956_970
    video_fps: Annotated[
        float, Field(gt=0, le=1000, allow_inf_nan=False, description="Frames to take of each second of a video.")
    ] = 1.0
    max_frames: Annotated[Count, Field(description="Videos of which more frames are to be taken are bad.")] = 100_000
    image_timeout: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="Seconds that one picture, or frame of a video, may take.")
    ] = 60.0
    actor_memory: Annotated[
        int, Field(ge=256, description="MiB that an extract actor may take for pictures; one that needs more is bad.")
    ] = 4096
    partition_copies: Annotated[
        int,
        Field(ge=1, le=16, description="Cells of a partitioned search that an image is put into, on average."),
    ] = 2
    partition_memory: Annotated[
        int, Field(ge=1024, description="MiB that a worker of a partitioned search may take, whatever the images are.")
    ] = 4096
    s3_anonymous: Annotated[
        Switch,
        Field(description="Ask S3 without a signature, as public buckets allow; so too where no credentials are."),
    ] = False
    s3_requester_pays: Annotated[Switch, Field(description="Agree to pay for what is read of S3 buckets.")] = False
    report: Annotated[Switch, Field(description="Write report/index.html.")] = True
    thumbnails: Annotated[
        Switch,
        Field(description="Put small pictures into the report; without them, for private data, it has names only."),
    ] = True
    reuse: Annotated[Switch, Field(description="Take over the features that the work_dir already has.")] = True
    overwrite: Annotated[
        Switch, Field(description="Replace the outputs of an earlier run on entirely other pictures.")
    ] = False

    @classmethod
    def of(cls, **parameters: Any) -> Self:
        """A checked configuration; raises `ConfigError` with one line that names parameter, value and choices."""
        return cls._validate(parameters, strict=True)

    @classmethod
    def from_text(cls, parameters: dict[str, Any]) -> Self:
        """The same from words of a command line, where `'0.9'` is a number."""
        return cls._validate(parameters, strict=False)

    @classmethod
    def _validate(cls, parameters: dict[str, Any], *, strict: bool) -> Self:
        try:
            config = cls.model_validate(_merge_turi_param(cls, parameters), strict=strict)
        except ValidationError as error:
            raise ConfigError(_format_error(error.errors()[0])) from None
        _refuse_contradictions(config)
        return config

    @property
    def inputs(self) -> list[str]:
        """`reference` and `input_dir` as a list: of what stands in both, the first counts."""
        own = [self.input_dir] if isinstance(self.input_dir, str) else list(self.input_dir or [])
        return [*self.reference, *own]

    @property
    def s3_access(self) -> Access:
        """How buckets are asked."""
        return make_access(anonymous=self.s3_anonymous, requester_pays=self.s3_requester_pays)

    @property
    def cores(self) -> int:
        """Threads in total on this machine: as asked, else the cores that affinity and cgroup leave to this process."""
        return self.num_threads if self.num_threads > 0 else count_cores()

    @property
    def limits(self) -> Limits:
        """What is taken of each picture."""
        box = parse_box(self.bounding_box) if self.bounding_box else None
        return Limits(self.max_pixels, self.min_size, self.video_fps, self.max_frames, box)


def _merge_turi_param(cls: type[RunConfig], parameters: dict[str, Any]) -> dict[str, Any]:
    """`parameters` with what stands in turi_param under its own names."""
    text = parameters.get("turi_param")
    if not isinstance(text, str):
        return parameters
    merged = dict(parameters)
    for name, value in parse_pairs("turi_param", text).items():
        if name not in TURI_NAMES:
            raise ConfigError(f"turi_param: unknown name {name!r}; known are {', '.join(TURI_NAMES)}.")
        field = cls.model_fields[name]
        adapter = TypeAdapter(Annotated[field.annotation, *field.metadata])
        try:
            parsed = adapter.validate_python(value)
            same = name not in merged or adapter.validate_python(merged[name]) == parsed
        except ValidationError as error:
            raise ConfigError("turi_param: " + _format_error(error.errors()[0] | {"loc": (name,)})) from None
        if not same:
            raise ConfigError(f"{name} is given twice: {merged[name]!r} and {value!r} in turi_param; give it once.")
        merged[name] = parsed
    return merged


def parse_pairs(parameter: str, text: str) -> dict[str, str]:
    """`'a=1,b=2'` as a dict; raises `ConfigError` where it is not of that form or says two things of one name."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\w+)\s*=\s*(\S+)", part)
        if match is None:
            raise ConfigError(f"{parameter}: {part!r} is not of the form name=value.")
        name, value = match.groups()
        if pairs.setdefault(name, value) != value:
            raise ConfigError(f"{parameter}: {name} is given twice: {pairs[name]} and {value}; give it once.")
    return pairs


def parse_box(text: str) -> Box:
    """`'rows=100,cols=100,width=250,height=310'` as numbers, in any order; raises `ConfigError`."""
    example = "bounding_box should be like rows=100,cols=100,width=250,height=310"
    pairs = parse_pairs("bounding_box", text)
    if set(pairs) != set(Box._fields):
        raise ConfigError(f"bounding_box={text!r} is not possible: {example}, each of the four names once.")
    if not all(re.fullmatch("[0-9]{1,9}", value) for value in pairs.values()):
        raise ConfigError(f"bounding_box={text!r} is not possible: {example}, whole numbers of pixels from 0 on.")
    box = Box(**{name: int(value) for name, value in pairs.items()})
    if min(box.width, box.height) < MIN_SIDE:
        raise ConfigError(f"bounding_box={text!r} is not possible: width and height should be {MIN_SIDE} or more.")
    return box


def _format_error(error: ErrorDetails | dict[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "?"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, RunConfig.model_fields, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"Unknown parameter {name!r}.{hint} Known are {', '.join(RunConfig.model_fields)}."
    reason = error["msg"].removeprefix("Value error, ")
    return f"{name}={error['input']!r} is not possible: {reason[:1].lower()}{reason[1:]}."


def _refuse_contradictions(config: RunConfig) -> None:
    """What no single field can see."""
    low, high = config.min_offset, config.max_offset
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"min_offset={low} must be less than max_offset={high}.")
    if not config.input_dir and config.run_mode != 2 and not config.version:
        raise ConfigError("input_dir is missing: name a folder, a picture or a list file.")
    if Path(config.work_dir).is_file() and config.run_mode != 2:
        raise ConfigError(f"work_dir={config.work_dir!r} is a file; name a folder.")
    if config.invariant and config.run_mode != 0:
        raise ConfigError(f"invariant is not possible in run_mode={config.run_mode}: it is for run_mode=0.")
    if config.reference and config.run_mode in (3, 4):
        raise ConfigError(f"reference is not possible in run_mode={config.run_mode}: the indexed pictures are it.")
    if config.run_mode == 4 and config.inputs:
        _refuse_in_mode_4(config)
    _refuse_other_schemes(config)


def _refuse_in_mode_4(config: RunConfig) -> None:
    if len(config.inputs) > 1:
        raise ConfigError(f"input_dir={config.input_dir!r} is not possible: run_mode=4 takes one features file.")
    given = {"num_images": config.num_images > 0}
    given |= {name: getattr(config, name) is not None for name in ("min_offset", "max_offset")}
    for name in filter(given.get, given):
        raise ConfigError(
            f"{name}={getattr(config, name)} is not possible: run_mode=4 scores the features as they are."
        )


def _refuse_other_schemes(config: RunConfig) -> None:
    for location in (config.work_dir, *config.inputs):
        if "://" in location and not is_s3(location):
            raise ConfigError(f"{location!r}: of URIs, s3://bucket/prefix is known.")
        if is_s3(location):
            refuse_secrets(location)
