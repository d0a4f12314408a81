"""Azure Blob Storage: account, credentials and endpoint, as Azure's own tools find them.

Source: https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string and, for the variables, the
pages of `az storage` and of obstore.
"""

import os
from typing import Any

from fastdup_ray.clouds.buckets import BucketSource
from fastdup_ray.clouds.cloud import Cloud, ObjectStore
from fastdup_ray.common.locations import AZURE
from fastdup_ray.errors import ConfigError

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"

_ACCOUNT = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
_KEY = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY")
_OTHERS = (
    *("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_TOKEN", "AZURE_CREDENTIAL_TYPE"),
    *("AZURE_CLIENT_ID", "AZURE_STORAGE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_AZURE_CLI"),
    *("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
)
"""Further credentials, which obstore reads. A managed identity has none: it needs AZURE_CREDENTIAL_TYPE."""

_PARTS = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_key",
    "BlobEndpoint": "endpoint",
}
"""Parts of a connection string -> options of obstore."""


def _read_environment() -> dict[str, str]:
    """Return the options of obstore that it does not find itself."""
    options = _parse_connection(os.environ.get(CONNECTION, ""))
    for option, names in (("account_name", _ACCOUNT), ("account_key", _KEY)):
        value = next(filter(None, map(os.environ.get, names)), None)
        if value and option not in options:
            options[option] = value
    return options


def _parse_connection(text: str) -> dict[str, str]:
    parts = dict(part.partition("=")[::2] for part in text.split(";") if part)
    options = {option: parts[name] for name, option in _PARTS.items() if parts.get(name)}
    if "sas_key" in options:
        options["sas_key"] = options["sas_key"].removeprefix("?")
    if "endpoint" not in options and {"AccountName", "EndpointSuffix"} <= parts.keys():
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        options["endpoint"] = f"{protocol}://{parts['AccountName']}.blob.{parts['EndpointSuffix']}"
    return options


def _has_credentials() -> bool:
    return bool({"account_key", "sas_key"} & _read_environment().keys()) or any(map(os.environ.get, _OTHERS))


def _make_store(container: str, *, anonymous: bool, **options: Any) -> ObjectStore:
    from obstore.store import AzureStore

    config: dict[str, Any] = _read_environment()
    if "account_name" not in config:
        raise ConfigError(f"az://{container}: set AZURE_STORAGE_ACCOUNT to the name of the storage account.")
    if anonymous:
        config = {name: config[name] for name in ("account_name", "endpoint") if name in config}
        config["skip_signature"] = True
    return AzureStore(container, **config, **options)


azure_cloud = Cloud(
    AZURE, "Azure", "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN", _has_credentials, _make_store
)
"""Azure Blob Storage; a bucket is called a container there."""

azure = BucketSource(azure_cloud)
"""The source of az:// URIs."""
