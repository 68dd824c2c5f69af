"""Words the commands that grant a permission: a role for one user, to which each further command adds.

Pure. `kubectl auth reconcile` adds to a role that exists, so a user who lacks several permissions can be given one after
another. The name of the role is that of the user, since a role that two users share would give each what the other one needs.
Source: Kubernetes documentation, "Using RBAC Authorization", kubectl auth reconcile.
"""

import re
import shlex
from collections.abc import Sequence

from managedchart_operator.kube.permissions import Permission

_SERVICE_ACCOUNT = "system:serviceaccount:"
# What the name of a role may not contain, and what a shell or a reader would stumble over.
_NOT_IN_NAMES = re.compile(r"[^\w.:@-]+", re.ASCII)


def grant_command(user: str, permission: Permission, verbs: Sequence[str]) -> str:
    """Return the command that lets a user use these verbs on the resource of a permission, where the permission is about."""
    where = f" --namespace={permission.namespace}" if permission.namespace else ""
    kind = "role" if permission.namespace else "clusterrole"
    name = f"managedchart:{_NOT_IN_NAMES.sub('-', user.removeprefix(_SERVICE_ACCOUNT))}"
    output = f"{where} --dry-run=client -o yaml"
    role = f"kubectl create {kind} {name} --verb={','.join(verbs)} --resource={kubectl_resource(permission)}{output}"
    binding = f"kubectl create {kind}binding {name} --{kind}={name} {subject(user)}{output}"
    return f"({role}; echo ---; {binding}) | kubectl auth reconcile -f -"


def kubectl_resource(permission: Permission) -> str:
    """Return a resource as `kubectl create role` takes it: RESOURCE.GROUP/SUBRESOURCE."""
    resource, slash, subresource = permission.resource.partition("/")
    return f"{resource}.{permission.group}{slash}{subresource}" if permission.group else permission.resource


def subject(user: str) -> str:
    """Return the flag that names a user for `kubectl create rolebinding`."""
    if user.startswith(_SERVICE_ACCOUNT):
        return f"--serviceaccount={user.removeprefix(_SERVICE_ACCOUNT)}"
    return f"--user={shlex.quote(user)}"
