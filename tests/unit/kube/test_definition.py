"""What the operator reads of its CRD and of its own identity."""

import logging
import re
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.api.crd import SCHEMA_DIGEST
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube import definition as definition_module
from managedchart_operator.kube.client import METADATA, KubeClient
from managedchart_operator.kube.definition import GRANT_CRD, Definition, DefinitionState
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.scope import Scope
from managedchart_operator.kube.whoami import own_account
from managedchart_operator.lifecycle.definitions import (
    lifecycleprofile,
    lifecycleprofile_schema,
    managedchart,
    managedchart_schema,
)
from managedchart_operator.lifecycle.profiles.model import DEFINITION as PROFILES
from managedchart_operator.reasons import Reason

CRD = ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/managedcharts.managedchart.dev")
WHO = ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews")
CREATED = "2026-01-01T12:00:00Z"


@pytest.mark.parametrize("deleting", [False, True])
async def test_only_the_metadata_of_the_crd_is_read(client: KubeClient, api: FakeApiServer, deleting: bool) -> None:
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
    assert "leaves the release unchanged" in error.message
    assert sentence in error.message
    assert error.hint is not None
    assert "as deploy/rbac.yaml does" in error.hint


async def test_another_error_is_not_changed(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[CRD] = (503, refusal("no healthy upstream", 503))
    with pytest.raises(KubeError) as raised:
        await Definition(client).state()
    assert raised.value.reason is Reason.API_UNAVAILABLE


# ---- the schema


def status_fields(crd: dict[str, Any]) -> dict[str, Any]:
    """The fields of the status in a CRD's schema."""
    fields: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"][
        "properties"
    ]
    return fields


@pytest.mark.parametrize("marked", [True, False])
async def test_the_crd_of_this_version_fits(
    client: KubeClient, api: FakeApiServer, marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its annotation too, which is only logged."""
    crd = managedchart()
    if not marked:
        del crd["metadata"]["annotations"]
    api.answers[CRD] = (200, crd)
    with caplog.at_level(logging.INFO):
        await Definition(client).check_schema(managedchart_schema())
    assert ("is of another version, but has every field" in caplog.text) is not marked


async def test_a_newer_crd_fits(client: KubeClient, api: FakeApiServer) -> None:
    """The CRD is upgraded first, and the operator may be restarted before its own upgrade."""
    crd = managedchart()
    status_fields(crd)["newer"] = {"type": "string"}
    crd["spec"]["versions"].insert(0, {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}})
    api.answers[CRD] = (200, crd)
    await Definition(client).check_schema(managedchart_schema())


@pytest.mark.parametrize("marked", ["sha256:0", None])
async def test_an_older_crd_is_refused_naming_the_field(
    client: KubeClient, api: FakeApiServer, marked: str | None
) -> None:
    """Even if the annotation matches: somebody who edits a schema does not change it."""
    crd = managedchart()
    if marked:
        crd["metadata"]["annotations"][SCHEMA_DIGEST] = marked
    del status_fields(crd)["phase"]
    api.answers[CRD] = (200, crd)
    with pytest.raises(StartupError) as refused:
        await Definition(client).check_schema(managedchart_schema())
    assert refused.value.message.startswith(
        "The CRD managedcharts.managedchart.dev is older than this operator or was edited: it has no field status.phase"
    )
    assert refused.value.hint is not None
    assert "kubectl apply --server-side -k crds/" in refused.value.hint


@pytest.mark.parametrize("versions", [[], [{"name": "v1"}], [{"name": "v1alpha1", "schema": None}]])
async def test_a_crd_without_a_schema_is_refused(
    client: KubeClient, api: FakeApiServer, versions: list[dict[str, Any]]
) -> None:
    api.answers[CRD] = (200, {"metadata": {}, "spec": {"versions": versions}})
    with pytest.raises(StartupError, match="it has no field spec"):
        await Definition(client).check_schema(managedchart_schema())


async def test_a_crd_being_deleted_is_not_compared(client: KubeClient, api: FakeApiServer) -> None:
    """If the operator did not start, its ManagedCharts could never be deleted."""
    crd = managedchart()
    crd["metadata"]["deletionTimestamp"] = CREATED
    del status_fields(crd)["phase"]
    api.answers[CRD] = (200, crd)
    await Definition(client).check_schema(managedchart_schema())


@pytest.mark.parametrize(
    ("status", "answer", "hint"),
    [
        (
            403,
            'is forbidden: User "nobody" cannot get resource',
            GRANT_CRD,
        ),
        (503, "no healthy upstream", None),
    ],
)
async def test_a_crd_that_cannot_be_read_ends_the_start(
    client: KubeClient, api: FakeApiServer, status: int, answer: str, hint: str | None
) -> None:
    api.answers[CRD] = (status, refusal(answer, status))
    with pytest.raises(
        StartupError, match=rf"Cannot read the CRD managedcharts\.managedchart\.dev: .*{re.escape(answer)}"
    ) as refused:
        await Definition(client).check_schema(managedchart_schema())
    assert refused.value.hint == hint


# ---- whoami


@pytest.mark.parametrize(
    ("user", "account"),
    [
        (
            "system:serviceaccount:managedchart-system:managedchart-operator",
            Identity("managedchart-system", "managedchart-operator"),
        ),
        ("kubernetes-admin", None),
        ("system:node:serviceaccount", None),
    ],
)
async def test_the_operator_knows_its_own_service_account(
    client: KubeClient, api: FakeApiServer, user: str, account: Identity | None
) -> None:
    api.answers[WHO] = (201, {"status": {"userInfo": {"username": user}}})
    assert await own_account(client) == account


@pytest.mark.parametrize("status", [403, 404])
async def test_an_identity_that_cannot_be_read_is_logged(
    client: KubeClient, api: FakeApiServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers[WHO] = (status, refusal('is forbidden: User "nobody" cannot create resource', status))
    with caplog.at_level(logging.WARNING):
        assert await own_account(client) is None
    assert "in which namespace it runs" in caplog.text


async def test_a_failing_api_server_is_a_start_error(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[WHO] = (500, refusal("etcdserver: request timed out", 500))
    with pytest.raises(StartupError, match="the operator's own identity"):
        await own_account(client)


# ---- without the permission to read it, for a list of namespaces

SCOPE = Scope(("team-a",))
DISCOVERY = ("GET", "/apis/managedchart.dev/v1alpha1")
OPENAPI = ("GET", "/openapi/v3/apis/managedchart.dev/v1alpha1")
NO_CRD = (403, refusal("is forbidden", 403))


def discovered(*verbs: str) -> tuple[int, Any]:
    status = {"name": "managedcharts/status", "verbs": ["get", "patch", "update"]}
    return 200, {"resources": [{"name": "managedcharts", "verbs": list(verbs)}, status]}


@pytest.fixture
def unreadable(api: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> FakeApiServer:
    monkeypatch.setattr(definition_module, "_SETTLE_SECONDS", 0.01)
    api.answers[CRD] = NO_CRD
    return api


def published(**changes: Any) -> tuple[int, Any]:
    """The OpenAPI document of the CRD."""
    schema = managedchart()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["status"]["properties"] |= changes
    return 200, {"components": {"schemas": {"dev.managedchart.v1alpha1.ManagedChart": schema}}}


async def test_the_published_schema_is_checked(
    client: KubeClient, unreadable: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable.answers[OPENAPI] = published()
    with caplog.at_level(logging.INFO):
        await Definition(client, SCOPE).check_schema(managedchart_schema())
    assert "its schema was checked as the API server publishes it" in caplog.text

    unreadable.answers[OPENAPI] = published(phase={"type": "integer"})
    with pytest.raises(StartupError, match=r"status\.phase is of type integer, not string"):
        await Definition(client, SCOPE).check_schema(managedchart_schema())


async def test_an_unpublished_schema_is_said_to_be_unchecked(
    client: KubeClient, unreadable: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The API server publishes it some moments after the CRD was created."""
    unreadable.answers[OPENAPI] = (200, {"components": {}})
    await Definition(client, SCOPE).check_schema(managedchart_schema())
    assert "the schema of the CRD managedcharts.managedchart.dev is not checked" in caplog.text


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (discovered("create", "delete", "get"), DefinitionState("", deleting=False)),
        (discovered("delete", "get", "list"), DefinitionState("", deleting=True)),
        ((200, {"resources": []}), None),
        ((404, "404 page not found"), None),
    ],
    ids=["present", "being deleted", "other resources only", "deleted"],
)
async def test_discovery_shows_a_deletion_of_the_crd(
    client: KubeClient, unreadable: FakeApiServer, answer: Any, state: DefinitionState | None
) -> None:
    unreadable.answers[DISCOVERY] = answer
    assert await Definition(client, SCOPE).state() == state


async def test_discovery_is_read_again_before_an_uninstall(client: KubeClient, unreadable: FakeApiServer) -> None:
    """It follows the CRD; what was read a moment before an uninstall counts at once."""
    answers = [discovered("create"), discovered("get")]

    async def late(_: web.Request) -> web.StreamResponse:
        status, body = answers.pop(0)
        return web.json_response(body, status=status)

    unreadable.answers[DISCOVERY] = late
    assert await Definition(client, SCOPE).state() == DefinitionState("", deleting=True)
    answers[:] = [discovered("create")]
    assert await Definition(client, SCOPE).state(settled=True) == DefinitionState("", deleting=False)


async def test_a_discovery_that_does_not_answer_proves_nothing(client: KubeClient, unreadable: FakeApiServer) -> None:
    unreadable.answers[DISCOVERY] = (503, refusal("no healthy upstream", 503))
    with pytest.raises(KubeError):
        await Definition(client, SCOPE).state()


# ---- the CRD of LifecycleProfiles, which need not be there

OPTIONAL = ("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PROFILES}")


@pytest.mark.parametrize(
    "answer", [(404, refusal("not found", 404)), (403, refusal("no", 403))], ids=["missing", "hidden"]
)
async def test_a_second_crd_may_be_missing_or_unreadable(
    client: KubeClient, api: FakeApiServer, answer: tuple[int, Any]
) -> None:
    api.answers[OPTIONAL] = answer
    await Definition(client).check_optional(PROFILES, lifecycleprofile_schema())


async def test_a_second_crd_of_this_version_fits(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[OPTIONAL] = (200, lifecycleprofile())
    await Definition(client).check_optional(PROFILES, lifecycleprofile_schema())


async def test_an_older_second_crd_is_refused(client: KubeClient, api: FakeApiServer) -> None:
    """A profile that lost a condition would match more."""
    crd = lifecycleprofile()
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"]
    del schema["properties"]["spec"]["properties"]["match"]
    api.answers[OPTIONAL] = (200, crd)
    with pytest.raises(StartupError, match=f"The CRD {PROFILES} is older than this operator or was edited"):
        await Definition(client).check_optional(PROFILES, lifecycleprofile_schema())
