"""A refusal lists all that is missing, and the next attempt begins when it is granted, without helm in between."""

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.permission_hints import TO_CREATE_NAMESPACE
from unit.reconcile.world import World

USER = "system:serviceaccount:a:b"
FORBIDDEN = (
    'Error: UPGRADE FAILED: configmaps "web" is forbidden: User "system:serviceaccount:a:b" cannot get resource "configmaps"'
    ' in API group "" in the namespace "apps"\n'
)
VERBS = ("get", "list", "watch", "create", "patch", "delete")
ON_CONFIGMAPS = {Permission(verb, "configmaps", "", "apps") for verb in VERBS}
ON_SECRETS = {Permission(verb, "secrets", "", "apps") for verb in ("create", "update", "delete")}


async def refused(*, retry: dict[str, object] | None = None, **spec: object) -> World:
    """A world in which the first install was refused, with all retries used."""
    world = World()
    world.cluster.permissions.denied = ON_CONFIGMAPS | ON_SECRETS
    world.helm.refusals["upgrade"] = [FORBIDDEN]
    world.put({"retry": {"limit": 0, **(retry or {})}, **spec})
    await world.reconcile()
    return world


async def test_all_that_is_missing_is_listed_with_the_command() -> None:
    world = await refused()
    failure = world.status["lastFailure"]
    assert failure["message"] == (
        f"User {USER} has no permission to get, list, watch, create, patch and delete configmaps in namespace apps;"
        " create, update and delete secrets in namespace apps"
    )
    assert failure["hint"] == (
        "Grant what is missing: kubectl create rolebinding managedchart-web --clusterrole=admin --serviceaccount=a:b"
        " --namespace=apps"
    )
    assert "configmaps" in failure["helmError"]
    assert world.status["attempt"]["missingPermission"] == {
        "verb": "get", "group": "", "resource": "configmaps", "namespace": "apps",
    }  # fmt: skip
    assert world.condition("Stalled")["message"].endswith(", or within a minute after the permission is granted")


async def test_a_grant_begins_the_next_attempt_although_its_time_has_not_come() -> None:
    world = await refused()
    ran = world.helm.commands
    assert 590 < (await world.reconcile() or 0) <= 600
    assert world.helm.commands == ran, "the check costs no helm"

    world.cluster.permissions.denied.clear()
    assert await world.reconcile() is None
    assert world.condition("Ready")["status"] == "True"
    assert world.event_messages("InstallStarted") == ["The release does not exist"]
    assert "missingPermission" not in world.status["attempt"]


async def test_an_upgrade_that_was_rolled_back_does_not_wait_for_a_permission() -> None:
    """It would disturb what runs, as every other attempt."""
    world = World()
    world.put()
    await world.reconcile()
    world.cluster.permissions.denied = ON_CONFIGMAPS
    world.put({"values": {"a": 1}})
    # Refused after something was applied: a hook of the upgrade.
    world.helm.refusals["upgrade"] = [FORBIDDEN]
    await world.reconcile()
    outlook, missing = world.status["attempt"]["outlook"], world.status["attempt"].get("missingPermission")
    assert (outlook == "KeepRolledBack") is (missing is None)


async def test_a_namespace_that_may_not_be_created_comes_first() -> None:
    world = World()
    world.home = "elsewhere"
    world.cluster.namespace = NamespaceState.MISSING
    world.cluster.permissions.denied = ON_CONFIGMAPS | set(TO_CREATE_NAMESPACE)
    world.helm.refusals["upgrade"] = [FORBIDDEN]
    world.put()
    await world.reconcile()
    failure = world.status["lastFailure"]
    assert failure["message"].startswith(
        f"User {USER} has no permission to create and patch namespaces cluster-wide; get, list"
    )
    assert "kubectl create namespace apps && kubectl create rolebinding" in failure["hint"]


async def test_what_cannot_be_rendered_leaves_the_first_refusal() -> None:
    world = World()
    world.cluster.permissions.denied = ON_CONFIGMAPS
    world.helm.refusals["upgrade"] = [FORBIDDEN, "Error: execution error at (web/x.yaml:1:3): no lookup\n"]
    world.put()
    await world.reconcile()
    assert (
        world.status["lastFailure"]["message"] == f"User {USER} has no permission to get configmaps in namespace apps"
    )


async def test_a_refusal_for_a_moment_is_only_retried() -> None:
    """An API server that has just started refuses everybody."""
    world = World()
    world.helm.refusals["upgrade"] = [FORBIDDEN]
    world.put()
    await world.reconcile()
    assert world.status["lastFailure"]["reason"] == "Forbidden"
    assert "missingPermission" not in world.status["attempt"]
    assert not any("--dry-run=client" in arguments for arguments in world.helm.ran)


async def test_a_refusal_of_the_operators_own_request_is_waited_for_too() -> None:
    world = World()
    world.put()
    answer = 'secrets is forbidden: User "u" cannot list resource "secrets" in API group "" in the namespace "apps"'
    error = KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer)
    world.cluster.permissions.denied = {Permission("list", "secrets", "", "apps")}
    world.secrets.failure = error
    await world.reconcile()
    assert world.status["attempt"]["missingPermission"]["verb"] == "list"
    assert "user" not in world.status["attempt"]["missingPermission"], "the operator itself"


async def test_what_an_action_lacks_is_awaited_too() -> None:
    """Its message stays, which is about its objects and not about those of the release."""
    world = World()
    world.cluster.permissions.denied = ON_CONFIGMAPS | ON_SECRETS
    refusal = KubeError("no", reason=Reason.FORBIDDEN, transient=False, status=403, answer=FORBIDDEN)

    async def refuse(_: ObjectRef) -> None:
        raise refusal

    world.cluster.get = refuse  # type: ignore[method-assign, assignment]
    action = {"name": "x", "phase": "PreExec", "exists": {"kind": "ConfigMap", "name": "web"}}
    world.put({"retry": {"limit": 0}, "lifecycle": {"actions": [action]}})
    await world.reconcile()
    said = f"Action x (exists) failed: User {USER} has no permission to get configmaps in namespace apps"
    assert world.status["lastFailure"]["message"] == said
    assert world.status["attempt"]["missingPermission"]["resource"] == "configmaps"

    world.cluster.permissions.denied.clear()
    del world.cluster.get
    world.cluster.objects["web"] = {"metadata": {"name": "web"}}
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    assert "missingPermission" not in world.status["attempt"]
