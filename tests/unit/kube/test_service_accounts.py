"""On whose behalf the operator works, and whether it can."""

from typing import Any

import pytest

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.errors import AccountMissingError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import IMPERSONATE, MissingPermission, Permission
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.kube.service_accounts import ServiceAccounts
from unit.reconcile.fakes import chart

DEPLOYER = Identity("team-a", "deployer")
PATH = "/api/v1/namespaces/team-a/serviceaccounts/deployer"
REVIEW = ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
UNUSABLE = MissingPermission("", Permission(IMPERSONATE, "serviceaccounts"))
PODS = Permission("get", "pods", "", "team-a")


def named(**spec: Any) -> ManagedChart:
    """A ManagedChart of team-a, whose release is in another namespace."""
    return chart(namespace="team-a", spec={"targetNamespace": "apps", **spec})


def test_the_account_is_in_the_namespace_of_the_managedchart(client: KubeClient) -> None:
    with_default = ServiceAccounts(client, default="tenant")
    assert ServiceAccounts(client).identity_of(named()) is None
    assert ServiceAccounts(client).identity_of(named(serviceAccountName="deployer")) == DEPLOYER
    assert with_default.identity_of(named()) == Identity("team-a", "tenant")
    assert with_default.identity_of(named(serviceAccountName="deployer")) == DEPLOYER


async def test_the_operator_itself_reads_whether_an_account_exists(client: KubeClient, api: FakeApiServer) -> None:
    accounts = ServiceAccounts(client)
    await accounts.check(None)
    assert not api.asked
    with pytest.raises(AccountMissingError, match="ServiceAccount deployer does not exist in namespace team-a"):
        await accounts.check(DEPLOYER)
    api.answers["GET", PATH] = (200, {"metadata": {"name": "deployer", "uid": "s1"}})
    assert await accounts.check(DEPLOYER) == "s1"
    assert {headers.get("Impersonate-User") for headers in api.headers} == {None}


@pytest.mark.parametrize("name", ["../../secrets/db", "a/b", "a?x=1"])
async def test_a_strange_name_is_the_name_of_no_account(client: KubeClient, api: FakeApiServer, name: str) -> None:
    """The schema refuses it; nothing else is read if it was stored all the same."""
    with pytest.raises(AccountMissingError):
        await ServiceAccounts(client).check(Identity("team-a", name))
    assert api.asked[0][1].startswith("/api/v1/namespaces/team-a/serviceaccounts/")
    assert "?" not in api.asked[0][2]


@pytest.mark.parametrize("may", [True, False])
async def test_an_account_is_usable_once_a_request_is_sent_as_it(
    client: KubeClient, api: FakeApiServer, *, may: bool
) -> None:
    api.answers["GET", PATH] = (200, {"metadata": {"name": "deployer"}})
    refused = refusal('serviceaccounts "deployer" is forbidden: User "x" cannot impersonate resource', 403)
    api.answers[REVIEW] = (201, {"status": {"allowed": False}}) if may else (403, refused)
    assert await ServiceAccounts(client).granted(UNUSABLE, DEPLOYER) is may
    assert api.headers[-1]["Impersonate-User"] == DEPLOYER.user


async def test_each_permission_is_asked_for_by_who_lacks_it(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[REVIEW] = (201, {"status": {"allowed": True}})
    accounts = ServiceAccounts(client)
    assert await accounts.granted(MissingPermission(DEPLOYER.user, PODS), DEPLOYER)
    assert await accounts.granted(MissingPermission("", PODS), DEPLOYER)
    assert await accounts.granted(MissingPermission("", PODS), None)
    assert [headers.get("Impersonate-User") for headers in api.headers] == [DEPLOYER.user, None, None]


async def test_only_metadata_and_marks_of_release_secrets_are_the_operators(
    client: KubeClient, api: FakeApiServer
) -> None:
    secrets, path = ReleaseSecrets(client).acting_as(DEPLOYER), "/api/v1/namespaces/apps/secrets"
    found = {"metadata": {"namespace": "apps", "name": "v1", "resourceVersion": "1"}}
    api.answers["GET", path] = (200, {"items": []})
    api.answers["GET", f"{path}/v1"] = api.answers["PATCH", f"{path}/v1"] = (200, found)
    api.answers["POST", path] = api.answers["DELETE", f"{path}/v1"] = (200, found)
    await secrets.list_metadata(namespace="apps", release="web")
    await secrets.rewrite(found, release="", labels={}, own=True)
    await secrets.rewrite(found, release="", labels={})
    await secrets.read(namespace="apps", name="v1")
    await secrets.create(namespace="apps", name="v2", release="", labels={})
    await secrets.delete(namespace="apps", name="v1")
    assert [headers.get("Impersonate-User") for headers in api.headers] == [None, None, *[DEPLOYER.user] * 4]


@pytest.mark.parametrize(
    ("account", "kind", "where"),
    [(Identity("ops", "operator"), "ServiceAccount", "ops"), (None, "Namespace", "default")],
    ids=["as a ServiceAccount", "as another user"],
)
async def test_an_event_about_a_namespace_that_ends_is_written_elsewhere_once(
    client: KubeClient, api: FakeApiServer, account: Identity | None, kind: str, where: str
) -> None:
    """A second one has the same name, which the API server refuses; that is no warning."""
    api.answers["POST", f"/api/v1/namespaces/{where}/events"] = (201, {})
    events = Events(client, account=account)
    for _ in range(2):
        await events.post_elsewhere(named(), reason="ReleaseLeft", message="It stays")
        api.answers["POST", f"/api/v1/namespaces/{where}/events"] = (409, refusal("exists", 409))
    first, second = (body for _, _, _, body in api.asked)
    assert first["metadata"] == second["metadata"] == {"name": "web-uid-web-releaseleft", "namespace": where}
    assert first["involvedObject"]["kind"] == kind
    assert first["related"]["namespace"] == "team-a"
