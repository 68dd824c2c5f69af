"""Whether a refused permission is missing, or the API server was only starting."""

from typing import Any

import pytest

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.discovery import Discovery
from managedchart_operator.kube.permissions import Permissions

REVIEW = ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
# Recorded from Helm 4.3.1 while an API server was starting.
REFUSED = (
    'post-upgrade hooks failed: jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot watch resource "jobs" in API'
    ' group "batch" in the namespace "x" - error from a previous attempt: read: connection reset by peer'
)


async def refused_for_a_moment(client: KubeClient, text: str) -> bool:
    """Ask the API server."""
    return await Permissions(client, Discovery(client)).refused_for_a_moment(text)


@pytest.mark.parametrize(
    ("answer", "for_a_moment"),
    [
        ((201, {"status": {"allowed": True}}), True),
        ((201, {"status": {"allowed": False}}), False),
        ((403, refusal('selfsubjectaccessreviews is forbidden: User "b" cannot create it', 403)), True),
        ((503, refusal("starting", 503)), True),
    ],
    ids=["there", "missing", "still refuses everybody", "no answer"],
)
async def test_the_api_server_decides_whether_a_permission_is_missing(
    client: KubeClient, api: FakeApiServer, answer: tuple[int, dict[str, Any]], for_a_moment: bool
) -> None:
    api.answers[REVIEW] = answer
    assert await refused_for_a_moment(client, REFUSED) is for_a_moment
    asked = api.asked[-1][3]["spec"]["resourceAttributes"]
    assert asked == {"verb": "watch", "group": "batch", "resource": "jobs", "namespace": "x"}


async def test_a_subresource_at_the_cluster_scope(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[REVIEW] = (201, {"status": {"allowed": False}})
    text = 'x is forbidden: User "b" cannot get resource "nodes/proxy" in API group "" at the cluster scope'
    assert not await refused_for_a_moment(client, text)
    assert api.asked[-1][3]["spec"]["resourceAttributes"] == {
        "verb": "get",
        "resource": "nodes",
        "subresource": "proxy",
    }


async def test_other_refusals_are_not_checked(client: KubeClient, api: FakeApiServer) -> None:
    assert not await refused_for_a_moment(client, 'pods "x" is forbidden: no PriorityClass with name y was found')
    assert not api.asked
