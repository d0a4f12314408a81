"""The files of `cluster/` and `docker/`, without a cluster or an engine: right, secure, and a typo fails."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import parliament
import pytest
import yaml
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from ray.autoscaler._private.kuberay.node_provider import IN_CLUSTER_CA_CERT_PATH, IN_CLUSTER_TOKEN_PATH

from tests.helpers import crds
from tests.helpers.clusters import COMMANDS, with_commands

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "cluster" / "kubernetes"
KUBERNETES_VERSION = "1.34"
RAY_KINDS = ("RayCluster", "RayJob", "RayCronJob")
AWS = ROOT / "cluster" / "aws.yaml"


def resources() -> dict[str, dict[str, Any]]:
    """By file and kind."""
    found = {}
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for resource in yaml.safe_load_all(path.read_text()):
            found[f"{path.name}:{resource['kind']}"] = resource
    return found


RESOURCES = resources()


def check(resource: dict[str, Any]) -> None:
    """Raises where Kubernetes or KubeRay would refuse it, or drop a field that it does not know."""
    if resource["kind"] in RAY_KINDS:
        crds.check(resource)
        for template in pods(resource):
            pod = {"apiVersion": "v1", "kind": "Pod", **template}
            kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)
        bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": resource["metadata"]}
        kubernetes_validate.validate(bare, KUBERNETES_VERSION, strict=True)
    else:
        kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)


def below(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """Each object in a resource, with its path."""
    if isinstance(value, dict):
        yield path, value
        for name, each in value.items():
            yield from below(each, (*path, name))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from below(each, (*path, place))


def pods(resource: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for _, value in below(resource) if "containers" in value.get("spec", {})]


@pytest.mark.parametrize("name", RESOURCES)
def test_kubernetes_takes_it(name):
    check(RESOURCES[name])


def test_all_kinds_are_there():
    kinds = {resource["kind"] for resource in RESOURCES.values()}
    assert kinds == {*RAY_KINDS, "CronJob", "Namespace", "ServiceAccount", "NetworkPolicy"}


@pytest.mark.parametrize("name", RESOURCES)
def test_a_typo_in_any_field_fails(name):
    """Of each field that the file names, but the free maps of labels and of Ray's parameters."""
    free = ("labels", "annotations", "matchLabels", "requests", "limits", "nodeSelector", "rayStartParams")
    tried = 0
    for path, value in below(RESOURCES[name]):
        if path and path[-1] in free:
            continue
        for field in value:
            changed = copy.deepcopy(RESOURCES[name])
            place = changed
            for step in path:
                place = place[step]
            place[field + "x"] = place.pop(field)
            with pytest.raises((jsonschema.ValidationError, KeyError)):
                check(changed)
                print("not found:", path, field)
            tried += 1
    assert tried > 3


def test_no_rule_of_kuberay_is_about_a_field_that_we_use():
    """Its other rules, in CEL, are about fields that no manifest has; where one gets such a field, it has to be checked
    by them, too."""
    assert "x-kubernetes-validations" not in crds.FIELDS.read_text()


@pytest.mark.parametrize("name", [name for name in RESOURCES if pods(RESOURCES[name])])
def test_pods_have_the_least_rights(name):
    for pod in pods(RESOURCES[name]):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "kubernetes" not in [mount["name"] for mount in container.get("volumeMounts", ())]
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert not any("hostPort" in port for port in container.get("ports", ()))


def ray_clusters() -> dict[str, dict[str, Any]]:
    return {
        name: value for name, resource in RESOURCES.items() for _, value in below(resource) if "headGroupSpec" in value
    }


def test_ray_asks_for_a_token_and_nothing_is_public():
    for spec in ray_clusters().values():
        assert spec["authOptions"] == {"mode": "token", "secretName": "fastdup-ray-token"}
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert "enableIngress" not in spec["headGroupSpec"]
        assert spec["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False
        (mount,) = spec["autoscalerOptions"]["volumeMounts"]  # the token is the autoscaler's alone
        (volume,) = spec["headGroupSpec"]["template"]["spec"]["volumes"]
        assert mount["name"] == volume["name"]
        assert mount["mountPath"] == os.path.dirname(IN_CLUSTER_TOKEN_PATH)
        paths = {source["path"] for _, source in below(volume) if "path" in source}
        assert paths == {os.path.basename(name) for name in (IN_CLUSTER_TOKEN_PATH, IN_CLUSTER_CA_CERT_PATH)}
    (policy,) = (resource for resource in RESOURCES.values() if resource["kind"] == "NetworkPolicy")
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    assert peers
    assert not any(selector == {} for peer in peers for selector in peer.values())
    assert not any(resource["kind"] in ("Ingress", "Service") for resource in RESOURCES.values())


def test_workers_scale_from_none_on_spot_and_the_head_is_on_demand():
    for spec in ray_clusters().values():
        head = spec["headGroupSpec"]["template"]["spec"]
        assert head["nodeSelector"] == {"karpenter.sh/capacity-type": "on-demand"}
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert {group["groupName"] for group in spec["workerGroupSpecs"]} == {"cpu", "gpu"}
        for group in spec["workerGroupSpecs"]:
            assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
            assert group["template"]["spec"]["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}


def test_what_no_node_could_do_is_an_error_and_not_a_wait(aws):
    name = "RAY_enable_infeasible_task_early_exit"
    for spec in ray_clusters().values():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            (container,) = group["template"]["spec"]["containers"]
            assert {"name": name, "value": "true"} in container["env"]
    for lines in (aws["head_start_ray_commands"], aws["worker_start_ray_commands"]):
        assert f"{name}=true" in lines[-1]


def test_the_three_ray_files_have_one_cluster():
    first, *others = ray_clusters().values()
    assert len(others) == 2
    assert all(other == first for other in others)


def test_the_ray_version_is_that_of_the_image():
    pinned = re.search(r"^ray==(.*)$", (ROOT / "docker" / "constraints.txt").read_text(), re.MULTILINE)
    assert {spec["rayVersion"] for spec in ray_clusters().values()} == {pinned[1]}


def test_jobs_end_their_cluster_and_scheduled_ones_do_not_overlap():
    jobs = [RESOURCES["rayjob.yaml:RayJob"]["spec"], RESOURCES["raycronjob.yaml:RayCronJob"]["spec"]["jobTemplate"]]
    assert jobs[0] == jobs[1]
    assert jobs[0]["shutdownAfterJobFinishes"] is True
    assert RESOURCES["cronjob.yaml:CronJob"]["spec"]["concurrencyPolicy"] == "Forbid"
    entry_points = {path.name for path in (ROOT / "jobs").glob("*.py")}
    for path in KUBERNETES.glob("*.yaml"):
        assert set(re.findall(r"/jobs/(\w+\.py)", path.read_text())) <= entry_points


# --- the launcher -----------------------------------------------------------------------------------------------------


def launcher(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` would have it; raises where Ray, or EC2, would refuse it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))
    ec2 = ServiceModel(Loader().load_service_model("ec2", "service-2"))
    for node_type in config["available_node_types"].values():
        asked = {"MinCount": 1, "MaxCount": 1} | node_type["node_config"]
        asked["SubnetId"] = asked.pop("SubnetIds")[0]  # Ray picks one of them
        report = ParamValidator().validate(asked, ec2.operation_model("RunInstances").input_shape)
        if report.has_errors():
            raise ValueError(report.generate_report())
    return config


@pytest.fixture
def aws() -> dict[str, Any]:
    return yaml.safe_load(AWS.read_text())


def test_the_launcher_takes_it(aws):
    launcher(aws)


def test_a_typo_in_the_launchers_file_fails(aws):
    tried = 0
    for path, value in below(aws):
        if path[:1] in (("file_mounts",),) or path == ("available_node_types",) or "resources" in path:
            continue
        for field in value:
            changed = copy.deepcopy(aws)
            place = changed
            for step in path:
                place = place[step]
            place[field + "x"] = place.pop(field)
            if path == ("provider",) and field not in ("type",):
                continue  # Ray takes any field there
            with pytest.raises((jsonschema.ValidationError, ValueError, KeyError, RuntimeError, AssertionError)):
                launcher(changed)
                print("not found:", path, field)
            tried += 1
    assert tried > 40


def test_the_launchers_cluster_is_not_public(aws):
    assert aws["provider"]["use_internal_ips"] is True
    for lines in (aws["head_start_ray_commands"], aws["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in lines[-1]
    assert "--dashboard-host=127.0.0.1" in aws["head_start_ray_commands"][-1]
    assert aws["file_mounts"] == {"/home/fastdup/.ray/auth_token": "~/.ray/auth_token"}
    types = aws["available_node_types"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    for name in ("cpu", "gpu"):
        assert types[name]["min_workers"] == 0
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    for node_type in types.values():
        assert node_type["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert node_type["node_config"]["SecurityGroupIds"]
        assert node_type["node_config"]["SubnetIds"]


POLICIES = sorted((ROOT / "cluster").glob("aws-*.json"))


def findings(policy: dict[str, Any]) -> list[str]:
    """What AWS would refuse, or would never match, once REPLACE is filled in."""
    text = json.dumps(policy).replace(":REPLACE:", ":123456789012:").replace("REPLACE", "0123abcd")
    found = [str(finding) for finding in parliament.analyze_policy_string(text).findings]
    # RunInstances is about many kinds of things, which AWS lets a policy name in several statements.
    return [each for each in found if not each.startswith("RESOURCE_MISMATCH") or "ec2:RunInstances" not in each]


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_aws_takes_the_policies_and_a_typo_fails(path):
    policy = json.loads(path.read_text())
    assert findings(policy) == []
    wrong = {"Effect": "Alow", "Action": "ec2:RunInstance", "Resource": "all-nodes", "Condition": {"Like": {}}}
    for place, statement in enumerate(policy["Statement"]):
        for field in set(wrong) & set(statement):
            changed = copy.deepcopy(policy)
            changed["Statement"][place][field] = wrong[field]
            assert findings(changed), (statement["Sid"], field)


def test_the_policies_let_a_node_do_no_more_than_it_has_to():
    head, buckets = (json.loads((ROOT / f"cluster/aws-{name}.json").read_text()) for name in ("head", "buckets"))
    for statement in (*head["Statement"], *buckets["Statement"]):
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not any("*" in action for action in actions)
        assert statement["Resource"] != "*" or all(":Describe" in action for action in actions)
        if {"ec2:TerminateInstances", "ec2:CreateTags", "iam:PassRole"} & set(actions):
            assert statement["Condition"]["StringEquals"]
    writes = [each for each in buckets["Statement"] if "s3:PutObject" in each["Action"]]
    assert [each["Resource"] for each in writes] == ["arn:aws:s3:::REPLACE/dedupe/*"]


# --- Slurm and images ------------------------------------------------------------------------------------------------


def lint(*words: str, source: str) -> subprocess.CompletedProcess:
    command = [os.path.join(COMMANDS, words[0]), *words[1:]]
    return subprocess.run(command, input=source, capture_output=True, text=True, env=with_commands({}), timeout=60)


def test_the_shell_script_is_clean_and_a_mistake_is_found():
    script = (ROOT / "cluster" / "slurm.sh").read_text()
    assert lint("shellcheck", "--severity=style", "-", source=script).stdout == ""
    broken = script.replace('run "$@" &', "run $@ &")
    assert broken != script
    assert "SC2068" in lint("shellcheck", "-", source=broken).stdout


def test_the_recipe_of_the_images_is_clean_and_a_mistake_is_found():
    recipe = (ROOT / "docker" / "Dockerfile").read_text()
    done = lint("hadolint", "-", source=recipe)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    assert "DL3020" in lint("hadolint", "-", source=recipe.replace("COPY jobs", "ADD jobs")).stdout
    assert lint("hadolint", "-", source=recipe.replace("WORKDIR", "WORKDR")).returncode != 0


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_images_are_not_of_root_and_know_how_they_are(target):
    recipe = (ROOT / "docker" / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM (?:.*) AS ([\w-]+)$((?:\n(?!FROM ).*)*)", recipe, re.MULTILINE))
    assert re.search(r"^USER 1000$", stages[target], re.MULTILINE)
    assert re.search(r'^HEALTHCHECK .*CMD \["fastdup-ray", "doctor"\]$', stages["runtime"], re.MULTILINE)
    assert "RAY_AUTH_MODE=token" in stages["runtime"]


def test_what_the_images_are_built_of_is_pinned():
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("ray", "numpy", "pyarrow", "onnxruntime", "onnxruntime-gpu", "faiss-cpu", "faiss-gpu", "pillow-simd"):
        assert f"{name}==" in "\n".join(lines), name
        assert f'"{name}' in project, name


@pytest.mark.parametrize("path", [*KUBERNETES.glob("*.yaml"), AWS, ROOT / "cluster" / "slurm.sh"], ids=str)
def test_what_could_not_be_run_here_is_labelled_so(path):
    assert re.search(r"[Nn]ot run here", path.read_text())
