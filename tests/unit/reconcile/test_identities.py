"""On whose behalf a resource is reconciled, and what happens when the account is missing or lost its permissions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.lost_account import RESTORE_SECONDS, TERMINATING_SECONDS
from managedchart_operator.reconcile.missing_permissions import refusal_in
from managedchart_operator.times import write_time
from unit.reconcile.world import World

USER = "system:serviceaccount:apps:deployer"
ACCOUNT = {"serviceAccountName": "deployer"}
OPERATOR = "system:serviceaccount:ops:operator"
_IN_APPS = 'in API group "" in the namespace "apps"'
MAY_NOT_IMPERSONATE = (
    f'Error: query: failed to query with labels: secrets is forbidden: User "{OPERATOR}" cannot'
    f' impersonate-on:serviceaccount:list resource "secrets" {_IN_APPS}\n'
)
REFUSED = f'Error: configmaps "web" is forbidden: User "{USER}" cannot get resource "configmaps" {_IN_APPS}\n'
ON_CONFIGMAPS = {
    Permission(verb, "configmaps", "", "apps") for verb in ("get", "list", "watch", "create", "patch", "delete")
}


@pytest.mark.parametrize(
    ("named", "default", "user"),
    [
        (None, None, None),
        (None, "tenant", "system:serviceaccount:apps:tenant"),
        ("deployer", None, USER),
        ("deployer", "tenant", USER),
    ],
)
async def test_helm_runs_as_the_account_of_the_resource(
    named: str | None, default: str | None, user: str | None
) -> None:
    """That of the spec, else that of the setting, else the operator itself."""
    world = World()
    world.accounts.default = default
    world.put({"serviceAccountName": named} if named else {})
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.helm.on_behalf == ("apps", user)


async def test_the_account_is_in_the_namespace_of_the_managedchart() -> None:
    """Not in that of its release: nobody borrows the account of another team."""
    world = World()
    world.home = "team-a"
    world.put(ACCOUNT)
    await world.reconcile()
    assert world.helm.on_behalf == ("team-a", "system:serviceaccount:team-a:deployer")


async def test_a_missing_account_starts_nothing() -> None:
    world = World()
    world.accounts.missing = True
    world.put(ACCOUNT)
    await world.reconcile()
    assert world.helm.ran == []
    failure = world.status["lastFailure"]
    assert failure["reason"] == "Forbidden"
    assert failure["message"] == "ServiceAccount deployer does not exist in namespace apps"
    assert failure["hint"] == "Create it: kubectl create serviceaccount deployer --namespace=apps"
    assert world.condition("Reconciling")["message"].endswith(
        ", or within a minute after the ServiceAccount can be used"
    )
    assert world.status["attempt"]["missingPermission"]["verb"] == "impersonate"


async def test_an_account_that_appears_begins_the_next_attempt() -> None:
    world = World()
    world.accounts.missing = True
    world.put({**ACCOUNT, "retry": {"limit": 0}})
    assert 590 < (await world.reconcile() or 0) <= 600
    assert 590 < (await world.reconcile() or 0) <= 600
    world.accounts.missing = False
    assert await world.reconcile() is None
    assert world.condition("Ready")["status"] == "True"


async def test_a_new_default_account_starts_no_helm_for_releases_in_sync() -> None:
    world = World()
    world.put()
    await world.reconcile()
    world.accounts.default = "tenant"
    world.accounts.missing = True
    assert await world.reconcile() is None
    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["status"] == "True"


async def test_another_account_deploys_again() -> None:
    """What a chart renders may depend on what its account may read."""
    world = World()
    world.put()
    await world.reconcile()
    world.put(ACCOUNT)
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "upgrade"]


async def test_a_refusal_names_the_account_and_grants_it_the_permissions() -> None:
    world = World()
    world.cluster.permissions.denied = set(ON_CONFIGMAPS)
    world.helm.refusals["upgrade"] = [REFUSED]
    world.put(ACCOUNT)
    await world.reconcile()
    failure = world.status["lastFailure"]
    assert failure["message"] == (
        f"User {USER} has no permission to get, list, watch, create, patch and delete configmaps in namespace apps"
    )
    assert failure["hint"] == (
        "Grant what is missing: kubectl create rolebinding managedchart-web --clusterrole=admin"
        " --serviceaccount=apps:deployer --namespace=apps"
    )
    assert world.status["attempt"]["missingPermission"]["user"] == USER


async def test_an_operator_that_may_not_impersonate_says_so() -> None:
    world = World()
    world.accounts.can_impersonate = False
    world.helm.refusals["upgrade"] = [MAY_NOT_IMPERSONATE]
    world.put(ACCOUNT)
    await world.reconcile()
    failure = world.status["lastFailure"]
    assert failure["message"] == (
        f"The operator may not impersonate the ServiceAccount of this resource: user {OPERATOR} cannot"
        ' impersonate-on:serviceaccount:list resource "secrets" in API group "" in the namespace "apps"'
    )
    assert "docs/security.md" in failure["hint"]
    assert world.status["attempt"]["missingPermission"] == {
        "verb": "impersonate", "group": "", "resource": "serviceaccounts", "namespace": "",
    }  # fmt: skip
    world.accounts.can_impersonate = True
    assert await world.reconcile() is None, "noticed without waiting for the retry"
    assert world.condition("Ready")["status"] == "True"


async def test_a_refusal_of_the_operator_itself_is_not_the_accounts() -> None:
    world = World()
    world.put(ACCOUNT)
    answer = f'serviceaccounts "x" is forbidden: User "{OPERATOR}" cannot get resource "serviceaccounts" {_IN_APPS}'
    error = KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer)
    world.cluster.permissions.denied = {Permission("get", "serviceaccounts", "", "apps")}
    services: Any = world.reconciler().services
    resource = world.resource
    assert resource is not None
    found = (await refusal_in(services, world.accounts.identity_of(resource), error)).missing  # type: ignore[arg-type]
    assert found is not None
    assert found.user == ""


# ---- releases of others


async def test_a_release_that_the_account_may_not_read_shows_nothing() -> None:
    """It is treated as if it did not exist; helm, as the account, is refused."""
    world = World()
    world.secrets.add("pending-upgrade", {"createdAt": "1"})
    world.cluster.permissions.denied = {Permission("get", "secrets", "", "apps")}
    world.helm.refusals["upgrade"] = [REFUSED]
    world.put(ACCOUNT)
    await world.reconcile()
    assert "release" not in world.status
    assert "revision" not in str(world.status["conditions"])
    assert world.secrets.statuses[0] == "pending-upgrade", "nothing was marked in it"


async def test_a_release_that_the_account_may_read_is_taken_over() -> None:
    world = World()
    world.secrets.add("deployed")
    world.put(ACCOUNT)
    await world.reconcile()
    assert [message for message in world.event_messages("ReleaseTakenOver") if "revision 1" in message]


# ---- deletion


async def deployed(**spec: Any) -> World:
    """A world in which the chart is deployed as revision 1 on behalf of an account."""
    world = World()
    world.put({**ACCOUNT, **spec})
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    return world


def delete(world: World, *, ago: float = 0.0) -> None:
    """Request the deletion, some seconds ago."""
    world.put(deleting=True, deletion_requested=write_time(datetime.now(UTC) - timedelta(seconds=ago)))


async def test_a_deletion_uninstalls_on_behalf_of_the_account() -> None:
    world = await deployed()
    delete(world)
    assert await world.reconcile() is None
    assert (world.helm.commands, world.helm.on_behalf) == (["upgrade", "uninstall"], ("apps", USER))
    assert world.resource is None


async def test_a_deletion_waits_for_its_account() -> None:
    world = await deployed()
    world.accounts.missing = True
    delete(world)
    again = await world.reconcile()
    assert again is not None
    assert again <= RESTORE_SECONDS
    assert world.resource is not None
    assert world.condition("Ready")["message"].startswith("ServiceAccount deployer does not exist in namespace apps")

    world.accounts.missing = False
    assert await world.reconcile() is None
    assert world.resource is None
    assert world.helm.commands == ["upgrade", "uninstall"]


@pytest.mark.parametrize("terminating", [False, True])
async def test_a_deletion_ends_without_its_account(terminating: bool) -> None:
    """The release stays, and an Event lists it: in a namespace that survives."""
    world = await deployed()
    world.accounts.missing = True
    if terminating:
        world.cluster.namespace = NamespaceState.TERMINATING
    delete(world, ago=TERMINATING_SECONDS if terminating else RESTORE_SECONDS)
    assert await world.reconcile() == 1.0, "the first refusal is not the last"
    assert world.resource is not None
    assert await world.reconcile() is None
    assert world.resource is None
    assert world.helm.commands == ["upgrade"], "nothing was done with the operator's own permissions"
    if terminating:
        assert world.event_messages("ReleaseLeft") == []
        ((_, message),) = world.events.elsewhere
        assert message == (
            "The release apps/web (revision 1) of the deleted ManagedChart apps/web was not uninstalled: ServiceAccount"
            " deployer does not exist in namespace apps. All of its objects are in namespace apps, which is being deleted"
        )
    else:
        assert world.events.elsewhere == []
        (message,) = world.event_messages("ReleaseLeft")
        assert message == (
            "The release apps/web (revision 1) of the deleted ManagedChart apps/web was not uninstalled: ServiceAccount"
            " deployer does not exist in namespace apps. Left in the cluster: ConfigMap apps/web; to uninstall"
            " it: helm uninstall web --namespace=apps"
        )


async def test_a_lost_permission_ends_a_deletion_too() -> None:
    world = await deployed()
    world.cluster.permissions.denied = set(ON_CONFIGMAPS)
    world.helm.refusals["uninstall"] = [REFUSED, REFUSED]
    delete(world, ago=RESTORE_SECONDS)
    assert await world.reconcile() == 1.0
    assert await world.reconcile() is None
    assert world.resource is None
    (message,) = world.event_messages("ReleaseLeft")
    assert USER in message


async def test_a_refusal_for_a_moment_ends_no_deletion() -> None:
    """An API server that has just started refuses everybody; it does not confirm that a permission is missing."""
    world = await deployed()
    world.helm.refusals["uninstall"] = [REFUSED, REFUSED]
    delete(world, ago=RESTORE_SECONDS)
    assert await world.reconcile() == 1.0
    assert await world.reconcile() == 1.0
    assert world.resource is not None
    assert await world.reconcile() is None
    assert world.helm.commands == ["upgrade", "uninstall", "uninstall", "uninstall"]


async def test_a_setting_lets_the_operator_uninstall() -> None:
    world = await deployed()
    world.delete_as_operator = True
    world.accounts.missing = True
    delete(world)
    assert await world.reconcile() is not None
    assert world.helm.commands == ["upgrade"], "it waits for the account first"
    delete(world, ago=RESTORE_SECONDS)
    assert await world.reconcile() is None
    assert (world.helm.commands, world.helm.on_behalf) == (["upgrade", "uninstall"], ("apps", None))
    assert world.resource is None


async def test_orphan_needs_no_account() -> None:
    world = await deployed(deletionPolicy="Orphan")
    world.accounts.missing = True
    delete(world)
    assert await world.reconcile() is None
    assert world.resource is None
