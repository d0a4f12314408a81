"""KubeRay's fields as strict JSON schemas: what the API server would refuse, or silently drop, fails."""

import json
from functools import cache
from typing import Any

import jsonschema

from tests.data.make_kuberay_fields import FIELDS


def check(resource: dict[str, Any]) -> None:
    """Raises `jsonschema.ValidationError` for a field of the wrong kind, or that is not in the table: an unknown one,
    or one that no manifest had when the table was made."""
    jsonschema.Draft202012Validator(schema_of(resource["kind"], resource["apiVersion"])).validate(resource)


@cache
def schema_of(kind: str, api_version: str) -> dict[str, Any]:
    schema = strict(json.loads(FIELDS.read_text())[f"{api_version} {kind}"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, checked elsewhere
    return schema | {"required": ["apiVersion", "kind", "metadata", "spec"]}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of Kubernetes -> JSON schema, where an object has no other fields than those named."""
    own = {name: value for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        own.pop("type", None)
        own["anyOf"] = [{"type": "integer"}, {"type": "string"}]
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
