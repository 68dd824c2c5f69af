"""What the operator reads of its CRD and of its own identity."""

import logging

import pytest

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import METADATA, KubeClient
from managedchart_operator.kube.definition import Definition, DefinitionState
from managedchart_operator.kube.whoami import own_namespace
from managedchart_operator.reasons import Reason

CRD = ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/managedcharts.managedchart.dev")
WHO = ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews")
CREATED = "2026-01-01T12:00:00Z"


@pytest.mark.parametrize("deleting", [False, True])
async def test_the_crd_is_read_by_its_metadata(client: KubeClient, api: FakeApiServer, deleting: bool) -> None:
    meta = {"creationTimestamp": CREATED, **({"deletionTimestamp": CREATED} if deleting else {})}
    api.answers[CRD] = (200, {"metadata": meta})
    assert await Definition(client).state() == DefinitionState(CREATED, deleting=deleting)
    assert api.headers[-1]["Accept"] == METADATA


async def test_a_missing_crd_is_none(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[CRD] = (404, refusal("not found", 404))
    assert await Definition(client).state() is None


async def test_a_missing_permission_is_named_with_its_consequence(client: KubeClient, api: FakeApiServer) -> None:
    sentence = 'is forbidden: User "nobody" cannot get resource "customresourcedefinitions"'
    api.answers[CRD] = (403, refusal(sentence, 403))
    with pytest.raises(KubeError) as raised:
        await Definition(client).state()
    error = raised.value
    assert (error.reason, error.transient) == (Reason.FORBIDDEN, True)
    assert error.message.startswith("The operator may not get the CRD managedcharts.managedchart.dev")
    assert "leaves the release as it is" in error.message
    assert sentence in error.message
    assert error.hint is not None
    assert "kubectl apply -f deploy/rbac.yaml" in error.hint


async def test_another_error_stays_what_it_is(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[CRD] = (503, refusal("no healthy upstream", 503))
    with pytest.raises(KubeError) as raised:
        await Definition(client).state()
    assert raised.value.reason is Reason.API_UNAVAILABLE


# ---- whoami


@pytest.mark.parametrize(
    ("user", "namespace"),
    [
        ("system:serviceaccount:managedchart-system:managedchart-operator", "managedchart-system"),
        ("kubernetes-admin", None),
        ("system:node:serviceaccount", None),
    ],
)
async def test_the_own_namespace_is_that_of_the_service_account(
    client: KubeClient, api: FakeApiServer, user: str, namespace: str | None
) -> None:
    api.answers[WHO] = (201, {"status": {"userInfo": {"username": user}}})
    assert await own_namespace(client) == namespace


@pytest.mark.parametrize("status", [403, 404])
async def test_an_identity_that_may_not_be_asked_for_is_logged(
    client: KubeClient, api: FakeApiServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers[WHO] = (status, refusal('is forbidden: User "nobody" cannot create resource', status))
    with caplog.at_level(logging.WARNING):
        assert await own_namespace(client) is None
    assert "in which namespace the operator runs" in caplog.text


async def test_an_api_server_that_fails_is_not_taken_for_another_user(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[WHO] = (500, refusal("etcdserver: request timed out", 500))
    with pytest.raises(StartupError, match="the operator's own identity"):
        await own_namespace(client)
