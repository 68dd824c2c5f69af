"""Stored objects of a kind that the cluster does not serve any more."""

import shutil
from pathlib import Path

from managedchart_operator.helm import command
from recording.manifests import configmap
from recording.recorder import Recorder, case

CRD = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gizmos.gone.managedchart.dev}
spec:
  group: gone.managedchart.dev
  scope: Namespaced
  names: {kind: Gizmo, plural: gizmos}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
GIZMO = "apiVersion: gone.managedchart.dev/v1\nkind: Gizmo\nmetadata: {name: web}\n---\n"
HOOK = GIZMO.replace("name: web", 'name: bye, annotations: {"helm.sh/hook": pre-delete}')


def _installed(r: Recorder, text: str) -> tuple[str, Path]:
    """Install a chart while the kind is there, and take the kind away."""
    r.apply(CRD)
    for state in ("jsonpath={.status.acceptedNames.kind}=Gizmo", "condition=Established"):
        r.kubectl("wait", f"--for={state}", "crd/gizmos.gone.managedchart.dev")
    ns, chart = r.namespace(), r.chart(text)
    r.upgrade(chart, ns)
    return ns, chart


def _take_away(r: Recorder, *, cached: bool = False) -> None:
    r.kubectl("delete", "crd", "gizmos.gone.managedchart.dev")
    if not cached:
        shutil.rmtree(r.folder / ".kube" / "cache")


def _rolled_back(r: Recorder, *, cached: bool) -> tuple[int, str]:
    ns, chart = _installed(r, GIZMO)
    (chart / "templates" / "objects.yaml").write_text(configmap())
    r.upgrade(chart, ns)
    _take_away(r, cached=cached)
    options = command.ReleaseOptions(release="web", namespace=ns, timeout="3s")
    return r.helm(command.rollback(options, revision=1, description="x"))


@case
def upgrade_from_a_kind_gone(r: Recorder):
    ns, chart = _installed(r, GIZMO)
    (chart / "templates" / "objects.yaml").write_text(configmap())
    _take_away(r)
    return r.upgrade(chart, ns)


@case
def uninstall_kind_gone(r: Recorder):
    ns, _ = _installed(r, GIZMO)
    _take_away(r)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="3s", foreground=False, wait=False))


@case
def uninstall_hook_of_a_kind_gone(r: Recorder):
    ns, _ = _installed(r, HOOK)
    _take_away(r)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="3s", foreground=False, wait=False))


@case
def rollback_kind_gone(r: Recorder):
    return _rolled_back(r, cached=False)


@case
def rollback_kind_gone_since(r: Recorder):
    """helm's cache still has the kind."""
    return _rolled_back(r, cached=True)
