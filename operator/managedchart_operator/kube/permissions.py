"""Permissions of the operator, or of whom it impersonates: which one a refusal names, and whether the user has it now.

Every authenticated user may ask for its own (ClusterRole system:basic-user).
"""

import re
from dataclasses import dataclass

from managedchart_operator.api_refusals import IMPERSONATION, MISSING_PERMISSION
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.discovery import Discovery, group_of

IMPERSONATE = "impersonate"


@dataclass(frozen=True, slots=True)
class Permission:
    """A verb on a resource (its plural, with /subresource if any). `namespace` is empty for cluster-wide."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class MissingPermission:
    """What a refusal names: the user, and the permission that it lacks.

    The verb IMPERSONATE stands for a ServiceAccount that does not exist, or that the operator may not impersonate.
    """

    user: str
    permission: Permission


class Permissions:
    """Asks the API server for the permissions of the user who asks: the operator, or whom it impersonates."""

    def __init__(self, client: KubeClient, discovery: Discovery) -> None:
        self._client = client
        self._discovery = discovery

    async def allowed(self, permission: Permission) -> bool:
        """Whether the user has a permission now. Raises KubeError."""
        return await is_allowed(self._client, permission)

    async def refused_for_a_moment(self, text: str) -> bool:
        """Whether the user has the permission that an error text reports as missing, so that a retry may succeed.

        An API server that has just started refuses everybody with the same message until it has read its roles. Until then it
        also refuses this check. If it does not answer, the refusal counts as temporary. False where the text is not about a
        permission.
        """
        if (missing := missing_in(text)) is None:
            return False
        try:
            return await self.allowed(missing.permission)
        except KubeError:
            return True

    async def on(self, verb: str, *, api_version: str, kind: str, namespace: str) -> Permission:
        """Return the permission for a verb on a kind, cluster-wide if the kind is. Raises KubeError (KIND_MISSING)."""
        served = await self._discovery.kind(api_version, kind)
        return Permission(verb, served.plural, group_of(api_version), namespace if served.namespaced else "")


def missing_in(text: str) -> MissingPermission | None:
    """Return the first permission that an error text reports as missing; None if it reports none."""
    if found := re.search(IMPERSONATION, text):
        return MissingPermission(found["user"], Permission(IMPERSONATE, "serviceaccounts"))
    found = re.search(MISSING_PERMISSION, text)
    if found is None:
        return None
    permission = Permission(found["verb"], found["resource"], found["group"], found["namespace"] or "")
    return MissingPermission(found["user"], permission)


async def is_allowed(client: KubeClient, permission: Permission, *, name: str = "") -> bool:
    """Whether the user of the client has a permission now, for all objects or for one. Raises KubeError."""
    resource, _, subresource = permission.resource.partition("/")
    wanted = {"verb": permission.verb, "group": permission.group, "resource": resource}
    wanted |= {"subresource": subresource, "namespace": permission.namespace, "name": name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
    }
    answer = await client.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
    return bool(answer["status"]["allowed"])
