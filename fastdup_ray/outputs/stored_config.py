"""config.json: the parameters of a run, written and read again."""

import json
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from fastdup_ray.common import layout
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError, redact
from fastdup_ray.storage import Store
from fastdup_ray.storage.facts import make_damaged_error

_READ_AGAIN = (
    *("input_dir", "annotations", "distance", "threshold", "ccthreshold", "lower_threshold", "nearest_neighbors_k"),
    *("max_pixels", "thumbnails", "s3_anonymous", "s3_requester_pays"),
)
_FIELDS: dict[str, Any] = {
    name: (RunConfig.model_fields[name].annotation, RunConfig.model_fields[name]) for name in _READ_AGAIN
}
_SHOWN = {"verbose": None, "log_format": None}
_CheckedConfig: type[BaseModel] = create_model("_CheckedConfig", __config__=ConfigDict(extra="allow"), **_FIELDS)


def write_config(store: Store, config: RunConfig, files: FileSet = INDEXED) -> None:
    """Write config.json, without the passwords that URIs may hold."""
    with store.create(files.name(layout.CONFIG)) as path:
        path.write_text(json.dumps(_make_content(config), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def has_same_config(store: Store, config: RunConfig) -> bool:
    """Return whether config.json has these parameters, apart from those that only say what is shown meanwhile.

    Raises:
        DamagedError: The file is not JSON.
    """
    ours, stored = ({**content, **_SHOWN} for content in (_make_content(config), read_config(store)))
    return json.dumps(ours, sort_keys=True) == json.dumps(stored, sort_keys=True)


def _make_content(config: RunConfig) -> dict[str, Any]:
    return {name: _escape_value(value) for name, value in config.model_dump().items()}


def _escape_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_escape_value(item) for item in value]
    return redact(escape_non_utf8(value)) if isinstance(value, str) else value


def read_config(store: Store, files: FileSet = INDEXED) -> StoredConfig:
    """Return the content of config.json; empty if there is none, since a CSV file alone is enough for a gallery.

    Raises:
        DamagedError: The file is not JSON, or has values that no run can be given.
    """
    name = files.name(layout.CONFIG)
    if not store.exists(name):
        return {}
    try:
        content = json.loads(store.fetch(name).read_bytes())
        _CheckedConfig.model_validate(content)
    except ValidationError as error:
        raise make_damaged_error(store, name, error) from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} in {store.location!r} is damaged: it is not JSON ({error}); run again.") from None
    return cast("StoredConfig", content)
