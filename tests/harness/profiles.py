"""Installs the operator with one of the profiles of deploy/profiles/, by the files that a user has, and runs it.

The objects are applied as kustomize makes them, and the operator is a process with the token and the settings of this very
Deployment, so that a permission or a setting that is missing there fails the test.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from conftest import CHARTS, REPOSITORY
from harness.cluster import Cluster, install_operator_objects
from harness.kustomize import NAMESPACED, my_operator
from harness.operator_process import SYSTEM_NAMESPACE, OperatorProcess, service_account_kubeconfig

# The port and the folders of the image.
_OF_THE_POD = ("MANAGEDCHART_HTTP_PORT", "MANAGEDCHART_CACHE_DIR", "MANAGEDCHART_CHART_ROOTS")
_BOUND = "clusterroles,clusterrolebindings,roles,rolebindings"


def install_without_permissions(cluster: Cluster) -> None:
    """Apply the CRD, the namespace and the ServiceAccount of the operator, which gets its permissions by `installed`."""
    install_operator_objects(cluster, REPOSITORY)
    cluster.kubectl("delete", "-f", str(REPOSITORY / "deploy" / "rbac.yaml"))


@contextmanager
def installed(
    cluster: Cluster,
    component: str | None,
    folder: Path,
    *,
    helm: str,
    chart_roots: Sequence[Path] = (),
    namespaces: Sequence[str] = (),
    **settings: str,
) -> Iterator[OperatorProcess]:
    """An operator, not yet started, with exactly this profile (None: deploy/ as it is); its roles are deleted at the end."""
    objects = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(my_operator(folder, component, namespaces)))))
    [deployment] = [item for item in objects if item["kind"] == "Deployment"]
    present = [item for item in objects if _namespace_exists(cluster, item) and item is not deployment]
    cluster.apply(*present)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if each["name"] not in _OF_THE_POD}
    operator = OperatorProcess(
        kubeconfig=service_account_kubeconfig(cluster, folder / "kubeconfig"),
        folder=folder,
        helm=helm,
        chart_roots=[CHARTS, *chart_roots],
        **{"MANAGEDCHART_PROBE_SECONDS": "2", **given, **settings},
    )
    try:
        yield operator
    finally:
        if operator.running:
            operator.stop()
        cluster.kubectl("delete", _BOUND, "--all-namespaces", "--selector=app.kubernetes.io/name=managedchart-operator")


def grant_namespace(cluster: Cluster, folder: Path, namespace: str) -> None:
    """Apply what the profile `namespaced` has for a namespace that was made after the operator was installed."""
    text = cluster.kubectl("kustomize", str(folder / "my-operator" / namespace))
    cluster.apply(*yaml.safe_load_all(text))


def may(cluster: Cluster, verb: str, resource: str, *, group: str = "", namespace: str = "") -> bool:
    """Whether the operator's own ServiceAccount has a permission; without a namespace cluster-wide."""
    attributes = {"verb": verb, "resource": resource, "group": group, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{SYSTEM_NAMESPACE}:managedchart-operator",
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{SYSTEM_NAMESPACE}",
                "system:authenticated",
            ],
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }
    answer = cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def _namespace_exists(cluster: Cluster, item: dict[str, Any]) -> bool:
    namespace = item["metadata"].get("namespace")
    return namespace in (None, SYSTEM_NAMESPACE) or cluster.get(f"/api/v1/namespaces/{namespace}") is not None


__all__ = ["NAMESPACED", "grant_namespace", "install_without_permissions", "installed", "may"]
