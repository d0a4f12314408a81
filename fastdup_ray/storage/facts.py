"""What the JSON files of a work_dir say of a run, checked before anything relies on it."""

from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts, RunSummary
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import read_json

_Count = Annotated[int, Field(ge=0)]
_Counts = dict[str, _Count]


class _Stored(BaseModel):
    """Only what is read again is declared; a default is never used."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Search(_Stored):
    index: str = ""
    recall: float | None = None
    recall_of_look_alikes: float = 0.0
    faiss_index: bool = True


class _Facts(_Stored):
    """What describes features, or a run. features_file: beside the file that names it."""

    version: str = ""
    n: _Count = 0
    d: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    list_sha256: str = ""
    min_offset: _Count = 0
    max_offset: _Count = 0
    entries: dict[str, list[Any]] = {}
    fingerprint: dict[str, Any] = {}
    sha256: dict[str, str] = {}
    features_file: Annotated[str, Field(pattern=r"^[^/\x00]+$")] = ""
    changes: _Counts = {}
    skipped: _Counts = {}
    neighbors: _Search = _Search()
    model: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    warnings: list[str] = []


class _Summary(_Facts):
    counts: _Counts
    d: Annotated[int, Field(ge=1, le=1 << 20)]
    sha256: dict[str, str]


def read_facts(store: Store, name: str) -> FeatureFacts:
    """Return the content of a sealed JSON file that describes features.

    Raises:
        DamagedError: where it is not whole, or has values of another kind than a run writes.
        FileNotFoundError: where there is none.
    """
    return cast("FeatureFacts", _read(store, name, _Facts))


def read_summary(store: Store, files: FileSet = INDEXED) -> RunSummary:
    """Return what summary.json, or that of a scoring, says; see `read_facts`."""
    return cast("RunSummary", _read(store, files.name(layout.SUMMARY), _Summary))


def _read(store: Store, name: str, model: type[_Stored]) -> dict[str, Any]:
    content = read_json(store, name)
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise make_damaged_error(store, name, error) from None
    return content


def make_damaged_error(store: Store, name: str, error: ValidationError) -> DamagedError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    what = f"{where}: {first['msg']}" if where else "it is not an object"
    return DamagedError(f"{name} in {store.location!r} is damaged: {what}; run again.")
