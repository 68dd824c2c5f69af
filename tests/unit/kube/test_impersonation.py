"""How the operator finds out whether it may act as a ServiceAccount, and that it does not start where it may not."""

import logging
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.errors import StartupError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.impersonation import check_impersonation
from managedchart_operator.kube.scope import Scope

REVIEWS = ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
AS_WHOM = "impersonate:serviceaccount"
ON = {f"impersonate-on:serviceaccount:{verb}" for verb in ("get", "list", "create", "update", "patch", "delete")}
CONSTRAINED = {AS_WHOM, *ON}
LEGACY = {"impersonate"}
ACCOUNT = "system:serviceaccount:default:deployer"


def secrets(namespace: str = "default") -> tuple[str, str]:
    return "GET", f"/api/v1/namespaces/{namespace}/secrets"


def forbidden(user: str, verb: str = "list") -> tuple[int, dict[str, Any]]:
    text = f'secrets is forbidden: User "{user}" cannot {verb} resource "secrets" in API group "" in the namespace "default"'
    return 403, refusal(text, 403)


def grant(api: FakeApiServer, verbs: set[str], *, namespaces: tuple[str, ...] = ("",)) -> None:
    """Answer the reviews; the request as an account is answered as if it had no permission of its own."""

    async def review(request: web.Request) -> web.StreamResponse:
        wanted = (await request.json())["spec"]["resourceAttributes"]
        allowed = wanted["verb"] in verbs and wanted.get("namespace", "") in namespaces
        return web.json_response({"status": {"allowed": allowed}}, status=201)

    api.answers[REVIEWS] = review
    api.answers[secrets()] = forbidden(ACCOUNT)


@pytest.mark.parametrize(
    ("verbs", "kind"),
    [
        (CONSTRAINED, "constrained impersonation"),
        (LEGACY, "the verb impersonate"),
        (LEGACY | CONSTRAINED, "the verb impersonate"),
    ],
    ids=["constrained", "legacy", "both"],
)
async def test_the_kind_is_logged_in_one_line(
    client: KubeClient, api: FakeApiServer, caplog: pytest.LogCaptureFixture, verbs: set[str], kind: str
) -> None:
    grant(api, verbs)
    with caplog.at_level(logging.INFO):
        await check_impersonation(client, Scope(), account="deployer")
    [message] = caplog.messages
    how, _, others = message.partition("; ")
    assert how == f"impersonating ServiceAccounts by {kind}"
    assert others == "ManagedCharts without spec.serviceAccountName run as deployer of their namespace"


@pytest.mark.parametrize(
    ("verbs", "why"),
    [
        (set(), "it has neither the permission impersonate:serviceaccount"),
        ({AS_WHOM}, "it has no permission to impersonate-on:serviceaccount:get secrets"),
        (CONSTRAINED - {"impersonate-on:serviceaccount:delete"}, "impersonate-on:serviceaccount:delete secrets"),
        (ON, "it has neither the permission impersonate:serviceaccount"),
    ],
    ids=["nothing", "no request", "not all requests", "nobody"],
)
async def test_without_the_permission_the_operator_does_not_start(
    client: KubeClient, api: FakeApiServer, verbs: set[str], why: str
) -> None:
    """Charts would run with its own permissions, or not at all."""
    grant(api, verbs)
    with pytest.raises(StartupError) as refused:
        await check_impersonation(client, Scope(), account="deployer")
    assert refused.value.message.startswith(
        "The operator cannot impersonate the ServiceAccount deployer that MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT names: "
    )
    assert why in refused.value.message
    assert refused.value.hint is not None
    assert "deploy/profiles/impersonate" in refused.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        (403, refusal('serviceaccounts "deployer" is forbidden: User "operator" cannot impersonate resource', 403)),
        forbidden("system:serviceaccount:managedchart-system:managedchart-operator", "impersonate-on:user-info:list"),
    ],
    ids=["older than 1.36", "without the gate"],
)
async def test_an_api_server_that_does_not_know_it_is_noticed(
    client: KubeClient, api: FakeApiServer, answer: tuple[int, Any]
) -> None:
    """RBAC of every version stores the rule; only a request shows whether it counts."""
    grant(api, CONSTRAINED)
    api.answers[secrets()] = answer
    with pytest.raises(StartupError) as refused:
        await check_impersonation(client, Scope(), account="deployer")
    assert "the API server refuses it, although the permission was granted" in refused.value.message
    assert "deploy/profiles/impersonate-legacy" in str(refused.value.hint)
    assert api.headers[-1]["Impersonate-User"] == ACCOUNT


async def test_an_account_with_permissions_is_no_problem(client: KubeClient, api: FakeApiServer) -> None:
    grant(api, CONSTRAINED)
    api.answers[secrets()] = (200, {"items": [], "metadata": {}})
    await check_impersonation(client, Scope(), account="deployer")


async def test_without_a_default_account_it_may_start(
    client: KubeClient, api: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    """ManagedCharts that name an account are refused one by one."""
    grant(api, set())
    with caplog.at_level(logging.INFO):
        await check_impersonation(client, Scope(), account=None)
    (message,) = caplog.messages
    assert message.startswith("not impersonating: no permission; ")
    assert message.endswith("ManagedCharts without spec.serviceAccountName run with the permissions of the operator")


@pytest.mark.parametrize("verbs", [CONSTRAINED, LEGACY], ids=["constrained", "legacy"])
async def test_a_profile_that_lost_its_account_does_not_start(
    client: KubeClient, api: FakeApiServer, verbs: set[str]
) -> None:
    """helm would run as the operator, which reads and patches the Secrets of all namespaces for itself."""
    grant(api, verbs)
    api.answers[secrets()] = forbidden("system:serviceaccount:default:default")
    with pytest.raises(StartupError) as refused:
        await check_impersonation(client, Scope(), account=None)
    assert "MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT is not set" in refused.value.message
    assert "Set MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT to the name of an account" in str(refused.value.hint)
    grant(api, {*verbs, "create"})
    api.answers[secrets()] = forbidden("system:serviceaccount:default:default")
    await check_impersonation(client, Scope(), account=None)


async def test_one_namespace_of_a_list_is_enough(
    client: KubeClient, api: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one may not exist yet; until then its ManagedCharts cannot exist either."""
    grant(api, LEGACY, namespaces=("team-b",))
    await check_impersonation(client, Scope(("team-a", "team-b")), account="deployer")
    assert "cannot impersonate ServiceAccounts of namespace team-a" in caplog.text
    with pytest.raises(StartupError):
        await check_impersonation(client, Scope(("team-a",)), account="deployer")


async def test_no_answer_is_no_permission(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[REVIEWS] = (503, refusal("no healthy upstream", 503))
    with pytest.raises(StartupError, match="its permissions cannot be checked"):
        await check_impersonation(client, Scope(), account="deployer")
