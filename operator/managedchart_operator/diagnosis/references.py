"""Finds the Secret or ConfigMap that a container refers to and that does not exist, and whether a late hook makes it.

Helm runs post-install and post-upgrade hooks when the release is ready. If the release needs what such a hook makes, neither
comes about.
Source: kubelet (pkg/kubelet/kuberuntime, pkg/volume), Kubernetes 1.37; Helm documentation, "Chart Hooks".
"""

import re
from collections.abc import Iterable, Mapping

from managedchart_operator.diagnosis.objects import Body, Identity
from managedchart_operator.kube.objects import reference

_MISSING = re.compile(r'\b(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found')
_KINDS = {"secret": "Secret", "configmap": "ConfigMap"}
_HOOK = "helm.sh/hook"
_LATE = ("post-install", "post-upgrade")
_EARLY = ("pre-install", "pre-upgrade")

LateHooks = Mapping[Identity, str]
"""The Secrets and ConfigMaps that only a late hook makes, with the hook's phase."""


def missing(text: str, *, namespace: str) -> Identity | None:
    """Return the object of a namespace that the kubelet reports as missing, or None."""
    found = _MISSING.search(text)
    return Identity("", _KINDS[found["kind"]], namespace, found["name"]) if found else None


def late_hooks(hooks: Iterable[Body], *, namespace: str) -> LateHooks:
    """Return what only a late hook of a release in a namespace makes; `hooks` are the objects of all hooks."""
    found: dict[Identity, str] = {}
    for body in hooks:
        annotations = (body.get("metadata") or {}).get("annotations") or {}
        phases = [phase.strip() for phase in str(annotations.get(_HOOK) or "").split(",")]
        late = next((phase for phase in _LATE if phase in phases), None)
        ref = reference(body, namespace)
        if late and ref.group_kind in (("", "Secret"), ("", "ConfigMap")) and not set(_EARLY) & set(phases):
            found[Identity(*ref.group_kind, ref.namespace, ref.name)] = late
    return found


def advice(text: str, *, namespace: str, late: LateHooks) -> str:
    """Return what helps a container that cannot be started, as a hint; `text` is the kubelet's."""
    wanted = missing(text, namespace=namespace)
    if wanted is None or wanted not in late:
        return "Create the ConfigMap or Secret that it refers to, or correct the reference in the values."
    return (
        f"Set spec.wait: false, or let the chart make {wanted.kind} {wanted.name} without a hook or by a pre-install hook: it "
        f"is made by the {late[wanted]} hook of this chart, which runs only after the release is ready."
    )
