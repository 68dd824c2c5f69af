"""What deploy/, the Dockerfile and the image tools promise, tested without a cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from managedchart_operator import __version__
from managedchart_operator.api.resource import DEFINITION
from managedchart_operator.app.http import serving
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.settings import Settings
from managedchart_operator.helm.slots import MIB, RESERVED_BYTES, processes_for
from managedchart_operator.lifecycle.profiles.model import DEFINITION as OF_PROFILES
from managedchart_operator.waiting.until_ready import waits_for

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NAMESPACE = "managedchart-system"
NAME = "managedchart-operator"
# Measured with helm 4.3.1, rounded up, and of the operator with its Kubernetes client.


def _loaded(folder: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization and of its bases, without kustomize's transformations."""
    found: list[dict[str, Any]] = []
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        resource = folder / name
        found += _loaded(resource) if resource.is_dir() else yaml.safe_load_all(resource.read_text())
    return found


OBJECTS = _loaded(DEPLOY)


def _one(kind: str, name: str = NAME) -> dict[str, Any]:
    [found] = [item for item in OBJECTS if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


@pytest.fixture
def deployment() -> dict[str, Any]:
    spec: dict[str, Any] = _one("Deployment")["spec"]
    return spec


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    [found] = pod["containers"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def settings(container: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as the operator reads them in the pod."""
    for variable in [name for name in os.environ if name.startswith("MANAGEDCHART_")]:
        monkeypatch.delenv(variable)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    return Settings()


def _mebibytes(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


# ---- the whole


def test_every_manifest_of_deploy_is_applied() -> None:
    """A file that kustomization.yaml forgets would look as if it were installed."""
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    present = {path.name for path in DEPLOY.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in listed if "/" not in name} == present


def test_deleting_the_operator_does_not_delete_the_crd() -> None:
    """Deleting the CRD deletes all ManagedCharts, so it is a separate kustomization, which README.md applies first."""
    assert not [item for item in OBJECTS if item["kind"] == "CustomResourceDefinition"]
    assert [item["metadata"]["name"] for item in _loaded(ROOT / "crds")] == [DEFINITION, OF_PROFILES]
    readme = (ROOT / "README.md").read_text()
    assert readme.index("kubectl apply --server-side -k crds/") < readme.index("kubectl apply -k my-operator/")


def test_all_namespaced_objects_are_in_the_operators_namespace() -> None:
    namespaced = [item for item in OBJECTS if item["kind"] in ("ServiceAccount", "Deployment", "Service")]
    assert {item["metadata"]["namespace"] for item in namespaced} == {_one("Namespace", NAMESPACE)["metadata"]["name"]}


def test_the_namespace_enforces_the_strictest_profile() -> None:
    assert _one("Namespace", NAMESPACE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_image_tag_is_the_version_of_the_package(container: dict[str, Any]) -> None:
    [image] = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["images"]
    assert (image["name"], image["newTag"]) == (container["image"], __version__)


# ---- the pod


def test_one_operator_at_a_time(deployment: dict[str, Any]) -> None:
    """Two would run two helm processes for one release, so the old pod is deleted before the new one starts."""
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}


def test_the_pod_is_not_root_and_gains_nothing(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pod_shares_nothing_with_its_node(pod: dict[str, Any]) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod["volumes"])


def test_the_operator_knows_every_setting_of_the_pod(container: dict[str, Any]) -> None:
    """pydantic-settings ignores unknown variables, so a misspelled one would silently do nothing."""
    known = {f"MANAGEDCHART_{field.upper()}" for field in Settings.model_fields}
    assert {variable["name"] for variable in container["env"]} <= known


def test_writable_volumes_are_bounded(pod: dict[str, Any], container: dict[str, Any], settings: Settings) -> None:
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(settings.cache_dir), "/tmp"} <= paths
    bounds = sum(_mebibytes(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"])
    assert bounds <= _mebibytes(container["resources"]["limits"]["ephemeral-storage"])


def test_many_charts_may_wait_at_once_within_the_memory(container: dict[str, Any]) -> None:
    """One that never becomes ready waits until its timeout, and so does its helm process if it has late hooks."""
    memory = _mebibytes(container["resources"]["limits"]["memory"]) * MIB
    assert waits_for(memory - RESERVED_BYTES) >= 1000
    assert processes_for(memory) >= 50


def test_there_is_no_cpu_limit(container: dict[str, Any]) -> None:
    """A throttled helm process misses its deadlines while the node is idle."""
    assert "cpu" not in container["resources"]["limits"]
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
async def test_each_probe_has_a_served_path(container: dict[str, Any], settings: Settings, probe: str) -> None:
    """On the port of the settings, a path that answers 200 when all is well."""
    asked = container[probe]["httpGet"]
    [port] = [port["containerPort"] for port in container["ports"] if port["name"] == asked["port"]]
    assert port == settings.http_port
    server = serving(host="127.0.0.1", port=0, metrics=Metrics(), healthy=lambda: None, ready=lambda: None)
    async with (
        server as free_port,
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{free_port}{asked['path']}") as answer,
    ):
        assert answer.status == 200


def test_liveness_and_readiness_differ(container: dict[str, Any]) -> None:
    """An operator that is still loading must not be restarted."""
    assert container["livenessProbe"]["httpGet"]["path"] != container["readinessProbe"]["httpGet"]["path"]


def test_the_service_selects_the_pod(deployment: dict[str, Any], container: dict[str, Any]) -> None:
    service = _one("Service")["spec"]
    assert service["selector"].items() <= deployment["template"]["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["ports"]} <= {port["name"] for port in container["ports"]}


# ---- the permissions


def test_the_roles_are_bound_to_the_pods_identity(pod: dict[str, Any]) -> None:
    subject = {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": NAMESPACE}
    bindings = [item for item in OBJECTS if item["kind"] == "ClusterRoleBinding"]
    assert all(binding["subjects"] == [subject] for binding in bindings)
    roles = {item["metadata"]["name"] for item in OBJECTS if item["kind"] == "ClusterRole"}
    assert {binding["roleRef"]["name"] for binding in bindings} == roles


def test_every_rule_gives_its_reason() -> None:
    """The line above each rule is a comment that belongs to no other."""
    lines = (DEPLOY / "rbac.yaml").read_text().splitlines()
    starts = [
        number
        for number, line in enumerate(lines)
        if re.match(r"  - (apiGroups|nonResourceURLs|resources|verbs):", line)
    ]
    assert len(starts) == sum(len(item["rules"]) for item in OBJECTS if item["kind"] == "ClusterRole")
    without = [lines[number] for number in starts if not lines[number - 1].startswith("  # ")]
    assert not without


def test_only_the_role_for_the_charts_is_unbounded() -> None:
    """Narrowing replaces that role, so the other one must have exactly what the operator itself needs."""
    unbounded = {
        item["metadata"]["name"]
        for item in OBJECTS
        if item["kind"] == "ClusterRole"
        and any(
            "*" in (*rule.get("apiGroups", ()), *rule.get("resources", ()), *rule["verbs"]) for rule in item["rules"]
        )
    }
    assert unbounded == {f"{NAME}-charts"}


def test_the_operators_role_cannot_delete_managedcharts() -> None:
    """It patches one (the finalizer) and its status, and no more; of a LifecycleProfile only the status."""
    rules = [rule for rule in _one("ClusterRole")["rules"] if rule["apiGroups"] == ["managedchart.dev"]]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert granted == {("managedcharts", verb) for verb in ("get", "list", "watch", "patch")} | {
        ("managedcharts/status", "patch"),
        *(("lifecycleprofiles", verb) for verb in ("get", "list", "watch")),
        ("lifecycleprofiles/status", "patch"),
    }


def test_the_operator_may_read_only_its_own_crds() -> None:
    """Without it no ManagedChart could be deleted: the operator would not know whether the CRD is being deleted too."""
    [rule] = [rule for rule in _one("ClusterRole")["rules"] if "customresourcedefinitions" in rule["resources"]]
    assert (rule["resourceNames"], rule["verbs"]) == ([DEFINITION, OF_PROFILES], ["get"])


# ---- the profiles

PROFILES = DEPLOY / "profiles"


@pytest.mark.parametrize("path", sorted(PROFILES.rglob("*.yaml")), ids=lambda path: str(path.relative_to(PROFILES)))
def test_every_manifest_of_a_profile_is_used(path: Path) -> None:
    """A file that no kustomization names would look as if it were applied."""
    if path.name == "kustomization.yaml":
        return
    listed = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
    patches = [patch.get("path") for patch in listed.get("patches", ())]
    assert path.name in [*listed.get("resources", ()), *patches]


def _rules(path: str) -> list[dict[str, Any]]:
    objects = yaml.safe_load_all((PROFILES / path).read_text())
    return [rule for item in objects for rule in item.get("rules", ())]


def test_the_own_role_of_impersonate_is_a_part_of_the_base() -> None:
    """Without all that is read for a ManagedChart."""

    def granted(rules: list[dict[str, Any]]) -> set[tuple[str, str, str, tuple[str, ...]]]:
        return {
            (group, resource, verb, tuple(rule.get("resourceNames", ())))
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    own, base = granted(_rules("impersonate/own-role.yaml")), granted(_one("ClusterRole")["rules"])
    assert own <= base
    assert {resource for _, resource, _, _ in base - own} == {
        "events",
        "pods",
        "pods/log",
        "persistentvolumeclaims",
        "storageclasses",
        "replicasets",
        "jobs",
    }


def test_constrained_impersonation_grants_no_verb_of_its_own() -> None:
    """Neither the operator's own access to what it may ask for as somebody else, nor the verb that cannot be narrowed."""
    verbs = {verb for rule in _rules("impersonate/rbac.yaml") for verb in rule["verbs"]}
    assert all(verb.startswith(("impersonate:serviceaccount", "impersonate-on:serviceaccount:")) for verb in verbs)
    assert [rule["verbs"] for rule in _rules("impersonate-legacy/rules.yaml")] == [["impersonate"]]


def test_the_namespaced_profile_has_nothing_cluster_wide() -> None:
    objects = list(yaml.safe_load_all((PROFILES / "namespaced/namespace/rbac.yaml").read_text()))
    assert {item["kind"] for item in objects} == {"Role", "RoleBinding"}
    assert not [item for item in objects if "namespace" in item["metadata"]]
    deleted = yaml.safe_load((PROFILES / "namespaced/kustomization.yaml").read_text())["patches"]
    patches = [patch for each in deleted if (patch := yaml.safe_load(each["patch"])).get("$patch") == "delete"]
    named = {(patch["kind"], patch["metadata"]["name"]) for patch in patches}
    cluster_wide = {(item["kind"], item["metadata"]["name"]) for item in OBJECTS if item["kind"].startswith("Cluster")}
    assert named == cluster_wide


# ---- the image


@pytest.fixture
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_the_image_runs_as_the_user_of_the_pod(dockerfile: str, pod: dict[str, Any]) -> None:
    identity = pod["securityContext"]
    [user] = re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE)
    assert user == f"{identity['runAsUser']}:{identity['runAsGroup']}"


def test_the_image_needs_no_shell_to_start(dockerfile: str) -> None:
    """The forms with brackets are executed without a shell."""
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.)", dockerfile, re.MULTILINE) == ["[", "["]


def test_helm_is_pinned_in_one_place(dockerfile: str) -> None:
    """The version in the image is that of hack/devcluster/go.mod; the Dockerfile has none."""
    assert re.search(r"^\s+helm\.sh/helm/v4 v4\.\d+\.\d+", (ROOT / "hack/devcluster/go.mod").read_text(), re.MULTILINE)
    assert not re.search(r"v?4\.\d+\.\d+", dockerfile)


def test_the_build_gets_all_it_copies(dockerfile: str) -> None:
    """.dockerignore shuts everything out but what it names."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert "*" in ignore
    assert copied == let_in


@pytest.mark.parametrize("tool", ["build", "test"])
def test_image_tools_name_the_missing_engine(tool: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", ROOT / "hack/image" / tool],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "apt-get install podman" in done.stderr
    assert "Traceback" not in done.stderr
