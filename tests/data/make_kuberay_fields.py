"""Keeps, of KubeRay's custom resource definitions, what says how the fields of our manifests have to be.

python -m tests.data.make_kuberay_fields FOLDER    # with raycluster.crd.yaml.gz and so on; again where a field is new
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

FIELDS = Path(__file__).with_name("kuberay-1.7.0.json")
MANIFESTS = Path(__file__).parents[2] / "cluster" / "kubernetes"

WORDS = (
    *("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("nullable", "required", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"),
    *("x-kubernetes-validations", "oneOf", "anyOf", "allOf", "not", "default", "additionalProperties"),
)
"""Of a schema that matter, beside `properties` and `items`."""


def used(schema: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """The schema of those fields that one of `values` has."""
    kept = {word: schema[word] for word in WORDS if word in schema}
    objects = [value for value in values if isinstance(value, dict)]
    if "properties" in schema:
        named = {name: [each[name] for each in objects if name in each] for name in schema["properties"]}
        kept["properties"] = {name: used(schema["properties"][name], each) for name, each in named.items() if each}
    if "items" in schema:
        kept["items"] = used(schema["items"], [each for value in values if isinstance(value, list) for each in value])
    return kept


def definition(folder: Path, kind: str, api_version: str) -> dict[str, Any]:
    with gzip.open(folder / f"{kind.lower()}.crd.yaml.gz") as file:
        spec = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
    group, version = api_version.split("/")
    if (spec["group"], spec["names"]["kind"]) != (group, kind):
        raise SystemExit(f"{folder} has no {kind} of {group}.")
    return next(each for each in spec["versions"] if each["name"] == version and each["served"])["schema"]


def main(folder: Path) -> None:
    ours: dict[tuple[str, str], list[Any]] = {}
    for path in sorted(MANIFESTS.glob("ray*.yaml")):
        for resource in yaml.safe_load_all(path.read_text()):
            ours.setdefault((resource["kind"], resource["apiVersion"]), []).append(resource)
    table = {
        f"{api_version} {kind}": used(definition(folder, kind, api_version)["openAPIV3Schema"], resources)
        for (kind, api_version), resources in ours.items()
    }
    FIELDS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
