"""The profiles of deploy/lifecycles on a real API server: each one with what is difficult about its chart.

The charts are small ones with the names and labels of the real ones, deployed into the namespace of the test. The profiles are
attached to that namespace only.
"""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from e2e.fields.steps import SOON, delete, deploy, uid
from e2e.lifecycles.test_actions import actions_of
from e2e.lifecycles.test_profiles import PROFILES, accepted
from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, condition_of, managedchart, namespace
from harness.egress import Answer, Server
from harness.services import own_address, serve
from peers import make_certificate

pytestmark = pytest.mark.usefixtures("operator")

FOLDER = REPOSITORY / "deploy" / "lifecycles"
OBJECTS = "{{- range .Values.objects }}\n---\n{{ toYaml . }}\n{{- end }}\n"
HELD = {"retry": SOON, "atomic": False}
"""Of a deployment whose first run fails: it is retried, and what it has installed stays."""

Attach = Callable[..., None]
Chart = Callable[..., dict[str, str]]


@pytest.fixture
def attach(cluster: Cluster, ns: str) -> Iterator[Attach]:
    """Applies a profile of deploy/lifecycles to the test's namespace, with other numbers where the test would wait for long."""
    applied: list[str] = []

    def apply(name: str, validation: dict[str, Any] | None = None, **of_actions: dict[str, Any]) -> None:
        body = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        spec = body["spec"]
        spec["match"]["namespaces"] = {"names": [ns]}
        spec["validation"] = validation or spec.get("validation", {})
        spec["actions"] = [{**each, **of_actions.get(each["name"].replace("-", "_"), {})} for each in spec["actions"]]
        cluster.apply(body)
        applied.append(name)
        accepted(cluster, name, "True")

    yield apply
    for name in applied:
        cluster.delete(f"{PROFILES}/{name}")


@pytest.fixture
def chart(chart_root: Path, ns: str) -> Chart:
    """Makes a chart that renders the objects in its values; `fixed` are templates, too."""

    def write(name: str, version: str = "1.0.0", **fixed: str) -> dict[str, str]:
        files = chart_files(name, version, objects=OBJECTS, **fixed)
        return {"path": str(write_chart(chart_root / f"{ns}-{name}-{version}", files))}

    return write


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """For a server with a certificate that nobody knows."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def workload(kind: str, name: str, labels: dict[str, str], **annotations: str) -> dict[str, Any]:
    """A Deployment or DaemonSet."""
    container = {"name": "main", "image": "registry.example/main:1"}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def crd(group: str, kind: str, plural: str, scope: str = "Namespaced") -> dict[str, Any]:
    """A CRD that accepts everything."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {
        "group": group,
        "scope": scope,
        "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    api = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**api, "metadata": {"name": f"{plural}.{group}"}, "spec": spec}


def says(cluster: Cluster, ns: str, text: str) -> None:
    """Wait until the ManagedChart says this about its failure."""

    def said(found: dict[str, Any]) -> bool:
        return text in condition_of(found, "Ready").get("message", "")

    cluster.wait_chart(ns, "a", said, what=f"saying {text}")


def test_all_can_be_applied(cluster: Cluster) -> None:
    """As the kustomization, and with no field that the API server does not know."""
    answer = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-o", "name", "-k", str(FOLDER))

    assert len(answer.splitlines()) == len(list(FOLDER.glob("*.yaml"))) - 1


def test_coredns_is_adopted_and_restarted_only_for_a_new_corefile(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart
) -> None:
    attach("coredns")
    labels = {"k8s-app": "kube-dns"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns"},
        "spec": {"selector": labels, "ports": ports},
    }
    cloud = [workload("Deployment", "coredns", labels), service]
    cluster.apply(*cloud, config_map("coredns", Corefile="of the cloud"), namespace=ns)
    deployment = f"/apis/apps/v1/namespaces/{ns}/deployments/coredns"
    before = uid(cluster, deployment)

    def upgrade(corefile: str, label: str) -> str:
        more = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coredns", "labels": {"run": label}}}
        values = {"objects": [*cloud, config_map("coredns", Corefile=corefile), more]}
        found = deploy(cluster, ns, "a", chart("coredns"), values=values)
        assert actions_of(found, "Validate")["pods"]["message"] == "True for 1 Deployment"
        message: str = actions_of(found, "PostExec")["restart"]["message"]
        return message

    assert upgrade("of the chart", "1") == f"Restarted Deployment {ns}/coredns"
    adopted = cluster.get(deployment)
    assert adopted is not None
    assert adopted["metadata"]["uid"] == before
    assert adopted["metadata"]["annotations"]["meta.helm.sh/release-name"] == "a"
    assert upgrade("of the chart", "2") == f"Deployment {ns}/coredns was restarted for this change already"
    assert upgrade("a new one", "2") == f"Restarted Deployment {ns}/coredns"
    sets = cluster.items(f"/apis/apps/v1/namespaces/{ns}/replicasets")
    assert len(sets) == 3, "the cloud's, and one for each restart"


def test_certificates_survive_an_upgrade_that_uninstalls_cert_manager(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart, tls: ssl.SSLContext
) -> None:
    """The uninstall deletes the CRDs with the release, and so the Certificates of all namespaces."""
    attach("cert-manager")
    group = "cert-manager.io"
    kinds = [
        crd(group, "Certificate", "certificates"),
        crd(group, "Issuer", "issuers"),
        crd(group, "ClusterIssuer", "clusterissuers", "Cluster"),
    ]
    answers = iter([503])
    objects = {"objects": [*kinds, workload("Deployment", "cert-manager-webhook", {"app": "webhook"})]}
    spec = {"values": objects, "lastBreakingVersionRequiringRestart": "1.4.4"}

    def answer(_: str) -> Answer:
        return next(answers, 404), {}, b""

    def certificate(name: str) -> dict[str, Any]:
        return {
            "apiVersion": f"{group}/v1",
            "kind": "Certificate",
            "metadata": {"name": name},
            "spec": {"secretName": name},
        }

    with Server(answer, host=own_address(), tls=tls) as server, namespace(cluster, f"{ns}-team") as team:
        serve(cluster, ns, server, own_address(), name="cert-manager-webhook", number=443)
        first = deploy(cluster, ns, "a", chart("cert-manager", "v1.4.0"), **spec)
        assert actions_of(first, "Validate")["webhook-answers"]["attempts"] == 2
        assert actions_of(first, "PreExec")["certificates"]["state"] == "Skipped"
        cluster.apply(certificate("mine"), namespace=ns)
        cluster.apply(certificate("theirs"), namespace=team)
        path = f"/apis/{group}/v1/namespaces/{team}/certificates/theirs"
        before = uid(cluster, path)

        second = deploy(cluster, ns, "a", chart("cert-manager", "v1.5.0"), **spec)

        saved = actions_of(second, "PreExec")["certificates"]["message"]
        restored = actions_of(second, "PostExec")["restore"]["message"]
        assert saved.startswith(f"Saved 2 objects in Secret {ns}/managedchart-backup-certificates.")
        assert restored == saved.replace("Saved 2 objects in", "Restored 2 of 2 objects from")
        assert uid(cluster, path) != before, "it was deleted in between"


def test_metrics_server_is_ready_when_the_api_server_can_use_it(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart, tls: ssl.SSLContext
) -> None:
    """The API server's own check of the APIService, first without a Service behind it."""
    attach("metrics-server", metrics_api={"timeout": "3s"})
    name = "v1beta1.metrics.k8s.io"
    with Server(lambda _: (200, {}, b"{}"), host=own_address(), tls=tls) as server:
        spec = {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "metrics", "namespace": ns, "port": server.port},
        }
        api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
        values = {"objects": [{**api, "metadata": {"name": name}, "spec": spec}]}
        try:
            cluster.apply(managedchart("a", chart("metrics-server"), values=values, **HELD), namespace=ns)
            says(cluster, ns, f"within 3s: APIService {name} has not reached condition Available")

            external = {"type": "ExternalName", "externalName": own_address()}
            service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"}, "spec": external}
            cluster.apply(service, namespace=ns)

            cluster.wait_ready(ns, "a")
        finally:  # else no namespace is deleted completely
            cluster.kubectl("delete", "apiservice", name, "--ignore-not-found")


def test_external_dns_that_restarts_again_and_again_is_noticed(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart
) -> None:
    """After the run, at a later check; without helm it heals when the pod is replaced."""
    attach("external-dns", validation={"every": "10s", "failureThreshold": 1})
    values = {"objects": [workload("Deployment", "external-dns", {"app.kubernetes.io/name": "external-dns"})]}
    deploy(cluster, ns, "a", chart("external-dns"), values=values)
    (pod,) = cluster.items(f"/api/v1/namespaces/{ns}/pods")
    statuses = [{**each, "restartCount": 5} for each in pod["status"]["containerStatuses"]]
    name = pod["metadata"]["name"]

    status = json.dumps({"status": {"containerStatuses": statuses}})
    cluster.kubectl(
        "patch", "pod", name, f"--namespace={ns}", "--subresource=status", "--type=merge", f"--patch={status}"
    )

    failed = cluster.wait_failed(ns, "a", "ValidationFailed")
    assert "Action no-restarts (expect) of profile/external-dns failed" in failed["status"]["lastFailure"]["message"]
    cluster.delete(f"/api/v1/namespaces/{ns}/pods/{name}")
    cluster.wait_ready(ns, "a")
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_the_cluster_autoscaler_works_and_no_second_one_does(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart
) -> None:
    attach("cluster-autoscaler", works={"retries": 0})
    karpenter = workload("Deployment", "karpenter", {"app.kubernetes.io/name": "karpenter"})
    status = "cluster-autoscaler-status"
    cluster.apply(karpenter, config_map(status, status="autoscalerStatus: Initializing"), namespace=ns)

    cluster.apply(managedchart("a", chart("cluster-autoscaler"), **HELD), namespace=ns)

    says(cluster, ns, f"Deployment with app.kubernetes.io/name=karpenter in namespace {ns} exists, but must not")
    assert cluster.revisions(ns, "a") == []
    cluster.delete(f"/apis/apps/v1/namespaces/{ns}/deployments/karpenter")
    says(cluster, ns, "Action works (expect) of profile/cluster-autoscaler failed")
    cluster.apply(config_map(status, status="autoscalerStatus: Running\nclusterWide: {}"), namespace=ns)
    cluster.wait_ready(ns, "a")


def storage_class(name: str, tier: str, *, default: bool = False) -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    metadata = {"name": name, "labels": {"example.com/storage-tier": tier}, "annotations": annotations}
    api = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
    return {**api, "metadata": metadata, "provisioner": "example.com/none"}


def priority_class(name: str, value: int) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"example.com/priority": "platform"}}
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": value}


STORAGE = {
    "profile": "storage-classes",
    "objects": [storage_class("e2e-standard", "standard", default=True)],
    "missing": storage_class("e2e-fast", "fast"),
    "message": (
        "Action fast (exists) of profile/storage-classes failed: There is no StorageClass with"
        " example.com/storage-tier=fast"
    ),
}
PRIORITY = {
    "profile": "priority-classes",
    "objects": [priority_class("platform-critical", 2000)],
    "missing": priority_class("platform-normal", 1000),
    "message": (
        "Action classes (exists) of profile/priority-classes failed: PriorityClass with"
        " example.com/priority=platform: 1 found, at least 2 needed"
    ),
}


@pytest.mark.parametrize("classes", [STORAGE, PRIORITY], ids=["storage", "priority"])
def test_classes_exist_by_their_labels(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart, classes: dict[str, Any]
) -> None:
    attach(classes["profile"])
    source, spec = chart(classes["profile"]), {"retry": {"limit": 0}, "atomic": False}
    cluster.apply(managedchart("a", source, values={"objects": classes["objects"]}, **spec), namespace=ns)

    assert cluster.wait_failed(ns, "a")["status"]["lastFailure"]["message"] == classes["message"]

    deploy(cluster, ns, "a", source, values={"objects": [*classes["objects"], classes["missing"]]}, **spec)
    delete(cluster, ns, "a")


def test_the_cni_that_the_cloud_installed_is_ready_on_every_node(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart
) -> None:
    """The profile brings the built-in lifecycle, which adopts it in place."""
    attach("aws-vpc-cni")
    node = workload("DaemonSet", "aws-node", {"k8s-app": "aws-node"})
    cluster.apply(node, namespace=ns)
    path = f"/apis/apps/v1/namespaces/{ns}/daemonsets/aws-node"
    before = uid(cluster, path)

    found = deploy(cluster, ns, "a", chart("aws-vpc-cni"), values={"objects": [node]})

    assert found["status"]["lifecycle"]["name"] == "aws-vpc-cni"
    assert actions_of(found, "Validate")["ready-on-every-node"]["message"] == "True for 1 DaemonSet"
    adopted = cluster.get(path)
    assert adopted is not None
    assert adopted["metadata"]["uid"] == before
    assert adopted["metadata"]["annotations"]["meta.helm.sh/release-name"] == "a"


def test_a_missing_crd_of_the_prometheus_operator_is_named(
    cluster: Cluster, ns: str, attach: Attach, chart: Chart
) -> None:
    """The built-in lifecycle comes with the profile. test_examples.py deploys and destroys the CRDs."""
    attach("prometheus-operator", prometheuses={"timeout": "3s"})
    cluster.apply(managedchart("a", chart("prometheus-operator-crds"), retry={"limit": 0}), namespace=ns)

    failed = cluster.wait_failed(ns, "a")

    assert failed["status"]["lifecycle"]["name"] == "prometheus-operator"
    assert len(failed["status"]["lifecycle"]["actions"]) == 6
    assert failed["status"]["lastFailure"]["message"] == (
        "Action prometheuses (waitFor) of profile/prometheus-operator failed: It did not end within 3s: there is no"
        " CustomResourceDefinition prometheuses.monitoring.coreos.com"
    )
