"""Checks whether the operator has a permission that the API server has refused."""

import re

from managedchart_operator.api_refusals import MISSING_PERMISSION
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def is_temporary_refusal(client: KubeClient, text: str) -> bool:
    """Whether the operator has the permission that an error text reports as missing, so that a retry may succeed.

    An API server that has just started refuses everybody with the same message until it has read its roles. Until then it also
    refuses this check, which every authenticated user may make (ClusterRole system:basic-user). If it does not answer, the
    refusal counts as temporary. False where the text is not about a permission.
    """
    if (refused := re.search(MISSING_PERMISSION, text)) is None:
        return False
    resource, _, subresource = refused["resource"].partition("/")
    wanted = {"verb": refused["verb"], "group": refused["group"], "resource": resource}
    wanted |= {"subresource": subresource, "namespace": refused["namespace"] or ""}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
    }
    try:
        answer = await client.request("POST", _PATH, body=body)
    except KubeError:
        return True
    return bool(answer["status"]["allowed"])
