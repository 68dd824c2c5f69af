"""What the Helm chart in deploy/chart promises, rendered by the real helm."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from harness.kustomize import kustomizations, my_operator
from managedchart_operator import __version__
from managedchart_operator.api.resource import API_VERSION, KIND
from managedchart_operator.api.spec import DeletionPolicy, ManagedChartSpec
from managedchart_operator.app.http import serving
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.settings import Settings
from managedchart_operator.charts.late_hooks import text_has_late_hooks

CHART = REPOSITORY / "deploy" / "chart"
APP = REPOSITORY / "operator" / "managedchart_operator" / "app"
PAGE = REPOSITORY / "docs" / "install.md"
NAME = "managedchart-operator"
NAMESPACE = "managedchart-system"
HELM_LABELS = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}
# The container's port and its cache volume belong to them, so the chart sets them itself.
FIXED_SETTINGS = {"MANAGEDCHART_HTTP_PORT", "MANAGEDCHART_CACHE_DIR"}
MONITORING = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
TEAMS = ("team-a", "team-b")
DIGEST = "sha256:" + "0" * 64

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


class HelmRefusalError(Exception):
    """helm did not render the chart; its text is the message."""


@pytest.fixture(scope="module")
def render(helm_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Returns the objects that the chart renders with the given values."""
    values_file = tmp_path_factory.mktemp("values") / "values.yaml"

    def template(**values: Any) -> list[Manifest]:
        values_file.write_text(yaml.safe_dump(values))
        done = subprocess.run(
            [helm_binary, "template", NAME, CHART, f"--namespace={NAMESPACE}", f"--values={values_file}"],
            # Without Go's garbage collection, a process that ends at once takes a third less CPU.
            env=os.environ | {"GOGC": "off"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise HelmRefusalError(done.stderr)
        return list(filter(None, yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)))

    return template


@pytest.fixture(scope="module")
def defaults(render: Render) -> list[Manifest]:
    return render()


@pytest.fixture(scope="module")
def schema() -> Manifest:
    loaded: Manifest = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def _one(objects: list[Manifest], kind: str, name: str = NAME) -> Manifest:
    [found] = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def _pod(objects: list[Manifest]) -> Manifest:
    spec: Manifest = _one(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def _environment(objects: list[Manifest]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in _pod(objects)["containers"][0]["env"]}


def _by_identity(objects: list[Manifest]) -> dict[tuple[str, ...], Manifest]:
    """By kind and name, and by namespace where that is not the operator's."""
    found = {}
    for item in objects:
        namespace = item["metadata"].get("namespace", NAMESPACE)
        elsewhere = () if namespace == NAMESPACE else (namespace,)
        found[item["kind"], item["metadata"]["name"], *elsewhere] = item
    return found


def _is_hook(item: Manifest) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


# ---- the same as kustomize


def _built(tools: Path, folder: Path, *kustomizations: Path) -> dict[tuple[str, ...], Manifest]:
    """What kustomize makes, without the Namespace, which belongs to whoever installs the release into it."""
    texts = [
        subprocess.check_output([tools / "kubectl", "kustomize", each], text=True) for each in (folder, *kustomizations)
    ]
    built = _by_identity([item for text in texts for item in yaml.load_all(text, Loader=yaml.CSafeLoader)])
    del built["Namespace", NAMESPACE]
    return built


def _rendered(objects: list[Manifest]) -> dict[tuple[str, ...], Manifest]:
    """What Helm makes, without the hooks and Helm's own labels."""
    rendered = _by_identity([deepcopy(item) for item in objects if not _is_hook(item)])
    for item in rendered.values():
        if labels := item["metadata"].get("labels"):
            item["metadata"]["labels"] = {name: value for name, value in labels.items() if name not in HELM_LABELS}
    return rendered


def _in_order(objects: dict[tuple[str, ...], Manifest]) -> dict[tuple[str, ...], Manifest]:
    """With the variables of the container by name, since each file adds them at a place of its own, and without spaces."""
    [container] = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        variable["value"] = variable["value"].replace('", "', '","')
    container["env"].sort(key=lambda variable: variable["name"])
    return objects


def test_chart_renders_the_kustomize_base(defaults: list[Manifest], tools: Path) -> None:
    """Except Helm's labels; plus the CRD."""
    assert _rendered(defaults) == _built(tools, REPOSITORY / "deploy", REPOSITORY / "crds")


@pytest.mark.parametrize(
    ("component", "values"),
    [
        ("impersonate", {"rbac": {"profile": "impersonate"}}),
        ("impersonate", {"rbac": {"profile": "impersonate", "impersonation": "constrained"}}),
        ("impersonate-legacy", {"rbac": {"profile": "impersonate", "impersonation": "legacy"}}),
        ("namespaced", {"rbac": {"profile": "namespaced"}, "settings": {"MANAGEDCHART_NAMESPACES": [*TEAMS]}}),
    ],
    ids=["impersonate", "constrained", "legacy", "namespaced"],
)
def test_each_profile_is_the_same_as_its_kustomization(
    render: Render, tools: Path, tmp_path: Path, component: str, values: Manifest
) -> None:
    """By the files that docs/security.md shows."""
    folder = my_operator(tmp_path, component, TEAMS)
    objects = render(crds={"enabled": False}, **values)
    assert _in_order(_rendered(objects)) == _in_order(_built(tools, folder))


def test_the_page_shows_the_kustomizations_that_are_tested() -> None:
    page = (REPOSITORY / "docs" / "security.md").read_text()
    shown = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    tested = kustomizations("namespaced", TEAMS)
    assert tested["kustomization.yaml"] in shown
    assert tested["team-a/kustomization.yaml"] in shown
    assert [text for text in shown if text.startswith(kustomizations("impersonate", ())["kustomization.yaml"])]


def test_the_page_gives_two_teams_an_account_of_their_own(render: Render, tools: Path, tmp_path: Path) -> None:
    """By Helm and by kustomize alike."""
    page = (REPOSITORY / "docs" / "security.md").read_text()
    section = page.partition("\n## Five minutes: two teams\n")[2].partition("\n## ")[0]
    [kustomization] = re.findall(r"^```yaml\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    folder = my_operator(tmp_path, "impersonate")
    (folder / "kustomization.yaml").write_text(kustomization)

    values: Manifest = {}
    for option in re.findall(r"--set (\S+)", section):
        path, _, value = option.partition("=")
        group, _, name = path.partition(".")
        values.setdefault(group, {})[name] = value
    objects = render(crds={"enabled": False}, **values)

    assert _environment(objects)["MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT"] == "deployer"
    assert _in_order(_rendered(objects)) == _in_order(_built(tools, folder))


@pytest.mark.parametrize(("version", "component"), [("1.35.9", "impersonate-legacy"), ("1.36.0-gke.1", "impersonate")])
def test_the_kind_of_impersonation_follows_the_version_of_kubernetes(
    helm_binary: str, tools: Path, tmp_path: Path, version: str, component: str
) -> None:
    """The verb `impersonate` is not granted where constrained impersonation works."""
    command = [helm_binary, "template", NAME, CHART, "--set=rbac.profile=impersonate", f"--kube-version={version}"]
    rendered = list(yaml.safe_load_all(subprocess.check_output(command, text=True)))
    role = ("ClusterRole", f"{NAME}-impersonation")
    built = _built(tools, my_operator(tmp_path, component, TEAMS))
    assert _by_identity(rendered)[role]["rules"] == built[role]["rules"]
    verbs = [verb for rule in built[role]["rules"] for verb in rule["verbs"]]
    assert ("impersonate" in verbs) is (component == "impersonate-legacy")
    assert ("impersonate:serviceaccount" in verbs) is (component == "impersonate")


def test_the_account_of_the_profile_can_be_chosen(render: Render) -> None:
    """But not be left out: then helm would run as the operator."""
    name = "MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT"
    for given, account in (("deployer", "deployer"), ("", "default")):
        objects = render(rbac={"profile": "impersonate"}, settings={name: given})
        assert _environment(objects)[name] == account


@pytest.mark.parametrize(("profile", "needed"), [("cluster-admin", None), ("impersonate", "Consent")])
def test_other_namespaces_must_agree_except_with_cluster_admin(
    render: Render, profile: str, needed: str | None
) -> None:
    name = "MANAGEDCHART_CROSS_NAMESPACE"
    assert _environment(render(rbac={"profile": profile})).get(name) == needed
    objects = render(rbac={"profile": profile}, settings={name: "Allow"})
    assert _environment(objects)[name] == "Allow"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rbac": {"profile": "namespaced"}}, "needs settings.MANAGEDCHART_NAMESPACES"),
        ({"rbac": {"clusterAdmin": False}}, "rbac.clusterAdmin was replaced by rbac.profile"),
        ({"rbac": {"clusterAdmin": True, "profile": "impersonate"}}, "rbac.clusterAdmin was replaced by rbac.profile"),
    ],
    ids=["no namespaces", "old value", "two values"],
)
def test_a_profile_that_is_not_clear_is_refused(render: Render, values: Manifest, message: str) -> None:
    with pytest.raises(HelmRefusalError) as refused:
        render(**values)
    assert message in str(refused.value)


def test_the_old_value_for_everything_is_still_understood(render: Render, defaults: list[Manifest]) -> None:
    assert render(rbac={"clusterAdmin": True}) == defaults


CRDS = {"managedchart": "crd", "lifecycleprofile": "crd-lifecycleprofile"}


@pytest.mark.parametrize("name", CRDS)
def test_chart_has_the_committed_crds(name: str) -> None:
    """Else: make crds."""
    copied = CHART / "files" / f"{CRDS[name]}.yaml"
    assert copied.read_text() == (REPOSITORY / "crds" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", CRDS)
def test_crds_are_templates_that_helm_keeps(defaults: list[Manifest], name: str) -> None:
    """In crds/ Helm would never upgrade them, and without the annotation an uninstall would delete every ManagedChart."""
    crd = _one(defaults, "CustomResourceDefinition", f"{name}s.managedchart.dev")

    assert not (CHART / "crds").exists()
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_helm_lint_has_nothing_to_say(helm_binary: str) -> None:
    done = subprocess.run([helm_binary, "lint", "--strict", CHART], capture_output=True, text=True, check=True)

    assert not re.findall(r"\[(?:INFO|WARNING|ERROR)\].*", done.stdout)


# ---- values


def test_every_value_has_a_default_and_a_schema(schema: Manifest) -> None:
    """So values.yaml shows all there is. `global` is Helm's own, and settings have their defaults in the operator."""

    def names(properties: Manifest, prefix: str = "") -> set[str]:
        found = set()
        for name, value in properties.items():
            nested = value.get("properties", {}) if name != "settings" else {}
            found |= names(nested, f"{prefix}{name}.") if nested else {prefix + name}
        return found - {"global"}

    def defaults(values: Manifest, like: Manifest, prefix: str = "") -> set[str]:
        found = set()
        for name, value in values.items():
            nested = like[name].get("properties", {}) if name != "settings" else {}
            found |= defaults(value, nested, f"{prefix}{name}.") if nested else {prefix + name}
        return found

    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert defaults(values, schema["properties"]) == names(schema["properties"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "additional properties 'replicas' not allowed"),
        ({"image": {"tags": "1"}}, "at '/image': additional properties 'tags' not allowed"),
        ({"image": {"tag": 1.1}}, "at '/image/tag': got number, want string"),
        ({"image": {"digest": "0.1.0"}}, "at '/image/digest'"),
        ({"image": {"pullSecrets": ["registry"]}}, "at '/image/pullSecrets/0': got string, want object"),
        ({"settings": {"MANAGEDCHART_LOGLEVEL": "INFO"}}, "'MANAGEDCHART_LOGLEVEL' not allowed"),
        ({"settings": {"MANAGEDCHART_HTTP_PORT": 9090}}, "'MANAGEDCHART_HTTP_PORT' not allowed"),
        ({"settings": {"MANAGEDCHART_LOG_LEVEL": "debug"}}, "value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ({"settings": {"MANAGEDCHART_NAMESPACES": ["Team A"]}}, "at '/settings/MANAGEDCHART_NAMESPACES/0'"),
        ({"rbac": {"profile": "admin"}}, "value must be one of 'cluster-admin', 'impersonate', 'namespaced'"),
        ({"settings": {"MANAGEDCHART_CHART_ROOTS": ["charts"]}}, "at '/settings/MANAGEDCHART_CHART_ROOTS/0'"),
        ({"podAnnotations": {"a": 1}}, "at '/podAnnotations/a': got number, want string"),
        ({"serviceMonitor": {"interval": "30"}}, "at '/serviceMonitor/interval'"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(render: Render, values: Manifest, message: str) -> None:
    """Before anything is installed, and with the name of the value."""
    with pytest.raises(HelmRefusalError) as refused:
        render(**values)

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, f"managedchart-operator:{__version__}"),
        ({"repository": "registry.example.com:5000/x", "tag": "2"}, "registry.example.com:5000/x:2"),
        ({"tag": "2", "digest": DIGEST}, f"managedchart-operator@{DIGEST}"),
    ],
    ids=["default", "tag", "digest"],
)
def test_image_is_named_by_tag_or_digest(render: Render, image: Manifest, reference: str) -> None:
    objects = render(image=image)

    pods = [_pod(objects), _one(objects, "Pod", f"{NAME}-test")["spec"]]
    assert {pod["containers"][0]["image"] for pod in pods} == {reference}


def test_chart_knows_every_setting(schema: Manifest) -> None:
    """And no other, except those that it sets itself."""
    known = {f"MANAGEDCHART_{name.upper()}" for name in Settings.model_fields}

    assert schema["properties"]["settings"]["properties"].keys() == known - FIXED_SETTINGS


def test_settings_reach_the_operator_as_written(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists, large numbers and booleans too."""
    objects = render(
        settings={
            "MANAGEDCHART_NAMESPACES": ["team-a", "team-b"],
            "MANAGEDCHART_CHART_ROOTS": ["/charts", "/more charts"],
            "MANAGEDCHART_HELM_PROCESSES": 2000000,
            "MANAGEDCHART_PROBE_SECONDS": 0.5,
            "MANAGEDCHART_UNINSTALL_WITH_CRD": True,
            "MANAGEDCHART_LOG_LEVEL": "DEBUG",
        }
    )
    for name in [name for name in os.environ if name.startswith("MANAGEDCHART_")]:
        monkeypatch.delenv(name)
    for name, value in _environment(objects).items():
        monkeypatch.setenv(name, value)
    settings = Settings()

    assert [str(root) for root in settings.chart_roots] == ["/charts", "/more charts"]
    assert settings.namespaces == ["team-a", "team-b"]
    assert settings.helm_processes == 2000000
    assert settings.probe_seconds == 0.5
    assert settings.uninstall_with_crd is True
    assert settings.log_level == "DEBUG"


def _examples() -> list[Manifest]:
    """The values file of the page, and the ManagedChart of the operator itself."""
    return [
        yaml.safe_load(each) for each in re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    ]


def test_values_in_the_page_are_accepted(render: Render) -> None:
    """And all of them have an effect on what is rendered."""
    values, _ = _examples()

    objects = render(**values)

    assert {"ServiceMonitor", "PrometheusRule"} <= {item["kind"] for item in objects}
    assert values["extraVolumes"][0] in _pod(objects)["volumes"]
    assert _environment(objects)["MANAGEDCHART_LOG_LEVEL"] == "DEBUG"


def test_the_managedchart_of_the_operator_itself_is_valid(render: Render) -> None:
    """It continues the release of the page's `helm install`, and keeps it when it is deleted."""
    _, example = _examples()
    spec = ManagedChartSpec.model_validate(example["spec"])

    assert (example["apiVersion"], example["kind"]) == (API_VERSION, KIND)
    assert (example["metadata"]["name"], example["metadata"]["namespace"]) == (NAME, NAMESPACE)
    assert spec.deletion_policy is DeletionPolicy.ORPHAN
    assert spec.chart.version == __version__
    [container] = _pod(render(**spec.values))["containers"]
    assert container["image"] == f"{spec.values['image']['repository']}:{__version__}"


def test_the_operator_waits_for_its_own_chart() -> None:
    """And not helm, which would still run when the pod that it replaces is stopped."""
    files = [path.read_bytes() for path in CHART.rglob("*") if path.is_file()]

    assert not any(text_has_late_hooks(text) for text in files)


def test_every_option_of_the_pod_reaches_it(render: Render) -> None:
    toleration = {"operator": "Exists"}
    volume = {"name": "charts", "configMap": {"name": "charts"}}
    mount = {"name": "charts", "mountPath": "/charts", "readOnly": True}
    variable = {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    objects = render(
        image={"pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]},
        serviceAccount={"annotations": {"example.com/role": "charts"}},
        service={"annotations": {"prometheus.io/scrape": "true"}},
        extraEnv=[variable],
        extraVolumes=[volume],
        extraVolumeMounts=[mount],
        resources={"limits": {"memory": "1Gi"}},
        podAnnotations={"example.com/a": "1"},
        podLabels={"example.com/b": "2"},
        # What OpenShift needs: null takes a default away.
        podSecurityContext={"runAsUser": None, "runAsGroup": None},
        priorityClassName="system-cluster-critical",
        hostNetwork=True,
        dnsPolicy="Default",
        nodeSelector={"kubernetes.io/os": "linux"},
        tolerations=[toleration],
        affinity=affinity,
    )
    template = _one(objects, "Deployment")["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]

    assert template["metadata"]["annotations"]["example.com/a"] == "1"
    assert template["metadata"]["labels"]["example.com/b"] == "2"
    assert container["imagePullPolicy"] == "Always"
    assert container["env"][-1] == variable
    assert container["volumeMounts"][-1] == mount
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert pod["volumes"][-1] == volume
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "Default")
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert (pod["tolerations"], pod["affinity"]) == ([toleration], affinity)
    assert _one(objects, "ServiceAccount")["metadata"]["annotations"] == {"example.com/role": "charts"}
    assert _one(objects, "Service")["metadata"]["annotations"] == {"prometheus.io/scrape": "true"}


def test_plugins_are_mounted_where_the_operator_looks(render: Render, defaults: list[Manifest]) -> None:
    pod = _pod(render(plugins={"configMap": "my-lifecycles"}))
    container = pod["containers"][0]

    assert {"name": "plugins", "configMap": {"name": "my-lifecycles"}} in pod["volumes"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "plugins"]
    assert {"name": "MANAGEDCHART_PLUGIN_DIR", "value": mount["mountPath"]} in container["env"]
    assert "plugins" not in str(_pod(defaults))


def test_chart_can_leave_the_crds_out(render: Render, defaults: list[Manifest]) -> None:
    objects = render(crds={"enabled": False})

    left_out = _by_identity(defaults).keys() - _by_identity(objects).keys()
    assert left_out == {("CustomResourceDefinition", f"{name}s.managedchart.dev") for name in CRDS}


def test_a_new_chart_version_alone_does_not_restart_the_operator(defaults: list[Manifest]) -> None:
    """Each restart ends the Helm processes that run, so the pod carries no label of the chart."""
    assert not HELM_LABELS & _one(defaults, "Deployment")["spec"]["template"]["metadata"]["labels"].keys()


def test_a_subchart_is_rendered_too(helm_binary: str, tmp_path: Path) -> None:
    """Helm adds `global` to the values of a subchart, which the schema must allow."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / NAME).symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: platform\nversion: 1.0.0\n")

    done = subprocess.run(
        [helm_binary, "template", tmp_path, "--set=global.team=a"], capture_output=True, text=True, check=True
    )

    assert "kind: Deployment" in done.stdout


# ---- helm test


@pytest.fixture
def ready_pod(defaults: list[Manifest]) -> Manifest:
    return _one(defaults, "Pod", f"{NAME}-test")


def test_helm_test_pod_is_restricted_and_not_selected(ready_pod: Manifest, defaults: list[Manifest]) -> None:
    """The namespace allows restricted pods only, and a pod that the Service selects could answer itself."""
    [container] = ready_pod["spec"]["containers"]
    selector = _one(defaults, "Service")["spec"]["selector"]

    assert ready_pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert ready_pod["spec"]["securityContext"] == _pod(defaults)["securityContext"]
    assert container["securityContext"] == _pod(defaults)["containers"][0]["securityContext"]
    assert ready_pod["spec"]["automountServiceAccountToken"] is False
    assert not selector.items() <= ready_pod["metadata"]["labels"].items()


@pytest.mark.parametrize("problem", [None, "ManagedCharts are not loaded yet"])
async def test_helm_test_asks_whether_the_operator_is_ready(ready_pod: Manifest, problem: str | None) -> None:
    *command, url = ready_pod["spec"]["containers"][0]["command"]
    assert url == f"http://{NAME}.{NAMESPACE}.svc:8080/readyz"
    server = serving(host="127.0.0.1", port=0, metrics=Metrics(), healthy=lambda: None, ready=lambda: problem)
    async with server as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command[1:],
            f"http://127.0.0.1:{port}/readyz",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()

    assert (process.returncode == 0) == (problem is None)
    assert errors.decode().rpartition(": ")[2].strip() == (problem or "")


# ---- monitoring


def test_monitoring_is_off_by_default(defaults: list[Manifest]) -> None:
    """Its kinds are unknown to a cluster without the Prometheus operator."""
    assert not {"ServiceMonitor", "PrometheusRule"} & {item["kind"] for item in defaults}


def test_service_monitor_scrapes_the_service(render: Render, defaults: list[Manifest]) -> None:
    """And leaves the label `namespace` of the metrics as it is, for which the alerts are written."""
    options = {"enabled": True, "labels": {"release": "prometheus"}, "interval": "30s", "scrapeTimeout": "10s"}
    monitor = _one(render(serviceMonitor=options), "ServiceMonitor")
    service = _one(defaults, "Service")

    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"] == [
        {"port": "http", "path": "/metrics", "honorLabels": True, "interval": "30s", "scrapeTimeout": "10s"}
    ]
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


def _alerts() -> list[Manifest]:
    [group] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    rules: list[Manifest] = group["rules"]
    return rules


def test_prometheus_rule_has_the_alerts(render: Render) -> None:
    """With Prometheus' own templates, which Helm must not evaluate."""
    rule = _one(render(**MONITORING), "PrometheusRule")

    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert "{{ $labels.name }}" in str(rule["spec"])


def test_page_lists_every_alert() -> None:
    listed = re.findall(r"^\| `(ManagedChart\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)

    assert listed == [(alert["alert"], alert["labels"]["severity"]) for alert in _alerts()]


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: alert["alert"])
def test_alerts_are_complete_and_name_metrics_that_exist(alert: Manifest) -> None:
    source = "".join(path.read_text() for path in APP.glob("*.py"))
    metrics = set(re.findall(r'"(managedchart_[a-z_]+)"', source))
    named = set(re.findall(r"managedchart_[a-z_]+", alert["expr"]))

    assert alert.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"].keys() == {"summary", "description"}
    assert named
    assert named <= metrics


def test_the_network_policy_is_that_of_the_kustomize_component(render: Render, tools: Path, tmp_path: Path) -> None:
    """Off by default, since a policy that does not fit the network plug-in cuts the operator off the API server."""
    written = yaml.safe_load((REPOSITORY / "deploy" / "networkpolicy" / "networkpolicy.yaml").read_text())
    rendered = deepcopy(_one(render(networkPolicy={"enabled": True}), "NetworkPolicy"))
    labels = rendered["metadata"]["labels"]
    rendered["metadata"]["labels"] = {name: value for name, value in labels.items() if name not in HELM_LABELS}
    assert rendered == written
    assert not [item for item in render() if item["kind"] == "NetworkPolicy"]

    user = tmp_path / "my-operator"
    user.mkdir()
    where = os.path.relpath(REPOSITORY / "deploy", user)
    user.joinpath("kustomization.yaml").write_text(f"resources: [{where}]\ncomponents: [{where}/networkpolicy]\n")
    text = subprocess.check_output([tools / "kubectl", "kustomize", user], text=True)
    assert _one(list(yaml.safe_load_all(text)), "NetworkPolicy") == written


def test_the_network_policy_keeps_the_metadata_service_out_of_reach(render: Render) -> None:
    policy = _one(render(networkPolicy={"enabled": True, "apiServerPorts": [8443]}), "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= _labels_of_the_pod(render()).items()
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    dns, api_server, internet = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert api_server == {"ports": [{"protocol": "TCP", "port": 8443}]}
    assert internet["to"][0]["ipBlock"] == {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}


def _labels_of_the_pod(objects: list[Manifest]) -> dict[str, str]:
    labels: dict[str, str] = _one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels
