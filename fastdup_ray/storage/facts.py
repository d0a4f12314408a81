"""Checks of the JSON files of a work_dir, made when they are read. `common.facts` has the types of their content."""

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
    """Declares only what is read again. Its defaults are never used: they make a key optional."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)


class _Search(_Stored):
    index: str = ""
    recall: float | None = None
    recall_of_look_alikes: float = 0.0
    faiss_index: bool = True


class _Facts(_Stored):
    """Facts of features or of a run. features_file: a name in the same folder."""

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
    basis: dict[str, str] = {}
    model: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    warnings: list[str] = []


class _Summary(_Facts):
    counts: _Counts
    d: Annotated[int, Field(ge=1, le=1 << 20)]
    sha256: dict[str, str]


def read_facts(store: Store, name: str) -> FeatureFacts:
    """Return the content of a JSON file that describes features.

    Args:
        store: The work_dir.
        name: Of the file.

    Raises:
        DamagedError: Its digest does not match, or it has values that no run writes.
        FileNotFoundError: There is no such file.
    """
    return cast("FeatureFacts", _read(store, name, _Facts))


def read_summary(store: Store, files: FileSet = INDEXED) -> RunSummary:
    """Return the content of summary.json, or of that of a scoring; see `read_facts` for errors."""
    return cast("RunSummary", _read(store, files.name(layout.SUMMARY), _Summary))


def _read(store: Store, name: str, model: type[_Stored]) -> dict[str, Any]:
    return _check(store, name, read_json(store, name), model)


def check_facts(store: Store, name: str, content: dict[str, Any]) -> FeatureFacts:
    """Return facts that the file `name` has, see `read_facts` for errors."""
    return cast("FeatureFacts", _check(store, name, content, _Facts))


def _check(store: Store, name: str, content: dict[str, Any], model: type[_Stored]) -> dict[str, Any]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise make_damaged_error(store, name, error) from None
    return content


def make_damaged_error(store: Store, name: str, error: ValidationError) -> DamagedError:
    """Return the error for a file whose values are not valid, with the first of them."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    what = f"{where}: {first['msg']}" if where else "it is not an object"
    return DamagedError(f"{name} in {store.location!r} is damaged: {what}; run again.")
