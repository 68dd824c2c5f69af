"""Words permissions that a user lacks: a sentence that lists them, and a hint with the commands that grant them.

The user is the operator, or the account on whose behalf it works. Pure. A RoleBinding to the ClusterRole `admin` is suggested
where it is enough; everything else needs a role of its own.
"""

from collections.abc import Iterable, Sequence

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.grants import kubectl_resource, subject
from managedchart_operator.kube.permissions import Permission, missing_in
from managedchart_operator.kube.watch import POLL_SECONDS
from managedchart_operator.shortening import listed

# What the ClusterRole `admin` allows to write in a namespace, read from Kubernetes 1.37. Other kinds may be aggregated to it.
# Source: Kubernetes documentation, "Using RBAC Authorization", user-facing roles.
_BY_ADMIN = {
    "": (
        "configmaps events persistentvolumeclaims pods pods/attach pods/exec pods/portforward pods/proxy"
        " replicationcontrollers secrets serviceaccounts services services/proxy"
    ),
    "apps": "daemonsets deployments replicasets statefulsets",
    "autoscaling": "horizontalpodautoscalers",
    "batch": "cronjobs jobs",
    "coordination.k8s.io": "leases",
    "networking.k8s.io": "ingresses networkpolicies",
    "policy": "poddisruptionbudgets",
    "rbac.authorization.k8s.io": "rolebindings roles",
}
_GRANTED_BY_ADMIN = frozenset((group, name) for group, names in _BY_ADMIN.items() for name in names.split())
_VERBS = "get,list,watch,create,update,patch,delete"
# helm applies a namespace that it creates (4.3.1).
TO_CREATE_NAMESPACE = (Permission("create", "namespaces"), Permission("patch", "namespaces"))
# A hint is read on a screen; the message counts the rest.
_NAMESPACES = 3
_RESOURCES = 8


def sentence(user: str, permissions: Sequence[Permission]) -> str:
    """List the permissions that a user lacks, those of the same verbs and namespace together."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for each in permissions:
        verbs.setdefault((each.namespace, _name(each)), []).append(each.verb)
    groups: dict[tuple[str, str], list[str]] = {}
    for (namespace, resource), needed in verbs.items():
        groups.setdefault((namespace, _enumerated(needed)), []).append(resource)
    parts = [
        f"{needed} {_shortened(resources)} {f'in namespace {namespace}' if namespace else 'cluster-wide'}"
        for (namespace, needed), resources in groups.items()
    ]
    return f"User {user} has no permission to {listed(parts)}"


def watch_refused(error: KubeError) -> str:
    """Return a sentence about a collection that the operator lists at an interval, because it may not watch it."""
    missing = missing_in(error.answer)
    what = sentence(missing.user, [missing.permission]) if missing else error.message
    return f"{what}; the operator lists them every {POLL_SECONDS:.0f} s instead, which is slower and costs more"


def hint(user: str, permissions: Sequence[Permission], *, release: str, new_namespace: str = "") -> str:
    """Return the commands that grant the permissions to a user; `new_namespace` does not exist yet."""
    name = f"managedchart-{release}"
    commands = [f"kubectl create namespace {new_namespace}"] if new_namespace else []
    rest = [each for each in permissions if not new_namespace or each not in TO_CREATE_NAMESPACE]
    if cluster_wide := [each for each in rest if not each.namespace]:
        commands += [
            f"kubectl create clusterrole {name} --verb={_VERBS} --resource={_resources(cluster_wide)}",
            f"kubectl create clusterrolebinding {name} --clusterrole={name} {subject(user)}",
        ]
    namespaces = list(dict.fromkeys(each.namespace for each in rest if each.namespace))
    for namespace in namespaces[:_NAMESPACES]:
        inside = [each for each in rest if each.namespace == namespace]
        where = f"--namespace={namespace}"
        role = "--clusterrole=admin"
        if any((each.group, each.resource) not in _GRANTED_BY_ADMIN for each in inside):
            commands.append(f"kubectl create role {name} --verb={_VERBS} --resource={_resources(inside)} {where}")
            role = f"--role={name}"
        commands.append(f"kubectl create rolebinding {name} {role} {subject(user)} {where}")
    more = len(namespaces) - _NAMESPACES
    others = f" (and likewise in {more} more namespaces)" if more > 0 else ""
    return f"Grant what is missing{others}: {' && '.join(commands)}"


def _name(permission: Permission) -> str:
    return f"{permission.resource}.{permission.group}" if permission.group else permission.resource


def _resources(permissions: Iterable[Permission]) -> str:
    return ",".join(dict.fromkeys(map(kubectl_resource, permissions)))


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _RESOURCES
    return ", ".join(names[:_RESOURCES]) + (f" and {more} more kinds" if more > 0 else "")


def _enumerated(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
