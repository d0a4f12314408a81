"""config.json of a run, read again."""

import json
from typing import Any, cast

from pydantic import ConfigDict, ValidationError, create_model

from fastdup_ray.common import layout
from fastdup_ray.common.facts import StoredConfig
from fastdup_ray.common.layout import INDEXED, FileSet
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import DamagedError
from fastdup_ray.storage import Store
from fastdup_ray.storage.facts import make_damaged_error

_READ_AGAIN = (
    *("input_dir", "distance", "threshold", "ccthreshold", "lower_threshold", "nearest_neighbors_k"),
    *("max_pixels", "thumbnails", "s3_anonymous", "s3_requester_pays"),
)
_StoredConfig: Any = create_model(
    "_StoredConfig",
    __config__=ConfigDict(extra="allow"),
    **{name: (RunConfig.model_fields[name].annotation, RunConfig.model_fields[name]) for name in _READ_AGAIN},
)


def read_config(store: Store, files: FileSet = INDEXED) -> StoredConfig:
    """Return what config.json says, nothing where there is none: a CSV alone is enough for a gallery.

    Raises:
        DamagedError: where it is not JSON, or has values that no run can be given.
    """
    name = files.name(layout.CONFIG)
    if not store.exists(name):
        return {}
    try:
        content = json.loads(store.fetch(name).read_bytes())
        _StoredConfig.model_validate(content)
    except ValidationError as error:
        raise make_damaged_error(store, name, error) from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} in {store.location!r} is damaged: it is not JSON ({error}); run again.") from None
    return cast("StoredConfig", content)
