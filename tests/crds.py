"""Custom resource definitions as strict JSON schemas: what the API server would refuse, or silently drop, fails."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FOLDER = Path(__file__).parent / "data" / "kuberay-1.7.0"


def check(resource: dict[str, Any]) -> None:
    """Raises `jsonschema.ValidationError` for a field that is unknown, or of the wrong kind."""
    jsonschema.Draft202012Validator(schema_of(resource["kind"], resource["apiVersion"])).validate(resource)


@cache
def schema_of(kind: str, api_version: str) -> dict[str, Any]:
    with gzip.open(FOLDER / f"{kind.lower()}.crd.yaml.gz") as file:
        definition = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    group, version = api_version.split("/")
    assert (definition["spec"]["group"], definition["spec"]["names"]["kind"]) == (group, kind)
    found = next(each for each in definition["spec"]["versions"] if each["name"] == version and each["served"])
    schema = strict(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, checked elsewhere
    return schema | {"required": ["apiVersion", "kind", "metadata", "spec"]}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of Kubernetes -> JSON schema, where an object has no other fields than those named."""
    own = {name: value for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        own.pop("type", None)
        own["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    own.pop("format", None)
    if own.pop("nullable", False) and "type" in own:
        own["type"] = [own["type"], "null"]
    if "items" in own:
        own["items"] = strict(own["items"])
    if "properties" in own:
        own["properties"] = {name: strict(each) for name, each in own["properties"].items()}
        if "additionalProperties" not in own and not schema.get("x-kubernetes-preserve-unknown-fields"):
            own["additionalProperties"] = False
    if isinstance(own.get("additionalProperties"), dict):
        own["additionalProperties"] = strict(own["additionalProperties"])
    return own
