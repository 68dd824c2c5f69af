"""Whether the operator has a permission that the API server has refused."""

import re

from managedchart_operator.api_refusals import MISSING_PERMISSION
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def refused_for_a_moment(client: KubeClient, text: str) -> bool:
    """Whether the permission that an error text reports as missing exists.

    An API server that has just started refuses everybody, in the same words, until it has read its roles; then it refuses
    this question too, which every authenticated user may ask (ClusterRole system:basic-user). An API server that does not
    answer leaves it open, so the permission does not count as missing. False where the text is about no permission.
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
