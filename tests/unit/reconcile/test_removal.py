"""Deletions of a resource from end to end, over fakes: which releases are uninstalled, and which stay."""

import asyncio
from typing import Any

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.kube.scope import Scope
from managedchart_operator.reasons import Reason
from unit.reconcile.world import World

BROKEN = "Error: something else\n"


async def deployed(**spec: Any) -> World:
    """A world in which the chart is deployed as revision 1, and the resource is being deleted."""
    world = World()
    world.put(spec)
    await world.reconcile()
    world.put(deleting=True)
    return world


async def test_a_deleted_resource_takes_its_release_along() -> None:
    world = await deployed()
    assert await world.reconcile() is None
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.resource is None
    assert world.event_messages("Uninstalled") == [
        "The release apps/web was uninstalled, because the ManagedChart is being deleted"
    ]


async def test_what_is_being_uninstalled_is_not_ready() -> None:
    """From the beginning: the pods end before the ManagedChart does."""
    world = await deployed()
    world.helm.killed_in = "uninstall"
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    assert world.status["phase"] == "Deleting"
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.condition("Ready")["message"] == "Uninstall: The ManagedChart is being deleted"
    assert world.condition("Released") == {}


async def test_orphan_leaves_the_release_as_it_was() -> None:
    world = await deployed(deletionPolicy="Orphan")
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.secrets.statuses == ["deployed"]
    assert world.resource is None
    assert world.event_messages("ReleaseOrphaned") == [
        "The release apps/web stays in the cluster, because spec.deletionPolicy is Orphan"
    ]


async def test_a_release_of_others_stays_with_an_event() -> None:
    world = World()
    world.secrets.add("deployed")
    world.put(deleting=True, finalizers=("managedchart.dev/release",))
    await world.reconcile()
    assert world.helm.commands == []
    assert world.event_messages("ReleaseLeft") == [
        "The release apps/web (revision 1, deployed) stays in the cluster, because this resource did not deploy it"
    ]
    assert world.resource is None


async def test_a_resource_without_the_finalizer_is_ignored() -> None:
    world = World()
    world.put(deleting=True)
    assert await world.reconcile() is None
    assert world.resource is not None


async def test_removing_the_operator_keeps_the_release() -> None:
    world = await deployed()
    world.keeps = "the CRD is being deleted"
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.resource is None
    (message,) = world.event_messages("ReleaseLeft")
    assert message.startswith("Deleted without an uninstall: the CRD is being deleted. The release apps/web")


async def test_a_failed_uninstall_keeps_the_finalizer() -> None:
    world = await deployed(retry={"limit": 0, "backoff": "1h"})
    world.helm.refusals["uninstall"] = [BROKEN]
    assert (await world.reconcile() or 0) > 200
    assert world.resource is not None
    assert world.status["phase"] == "Deleting"
    assert world.status["attempt"]["outlook"] == "Retry", "a removal never gives up"
    world.put(deleting=True)
    assert await world.reconcile() is None
    assert world.resource is None


async def test_an_unreadable_spec_does_not_block_the_deletion() -> None:
    world = await deployed()
    world.put({"timeout": "soon"}, deleting=True)
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.resource is None


@pytest.mark.parametrize("policy", ["Uninstall", "Orphan"])
async def test_a_pending_revision_does_not_block_the_deletion(policy: str) -> None:
    """Neither the uninstall nor, where the release stays, the next Helm operation on it."""
    world = await deployed(deletionPolicy=policy)
    own = {key: value for key, value in world.secrets.secrets[1]["metadata"]["labels"].items() if "/" in key}
    world.secrets.add("pending-upgrade", {**own, "managedchart.dev/attempt": "2.word"})
    await world.reconcile()
    assert world.resource is None
    assert world.secrets.statuses == ([] if policy == "Uninstall" else ["deployed", "failed"])


# ---- actions that cannot be run

ORPHAN = (
    """kubectl patch managedchart web --namespace apps --type=merge --patch='{"spec":{"deletionPolicy":"Orphan"}}'"""
)
SAVE = {"name": "save", "phase": "PreDelete", "exists": {"kind": "ConfigMap", "name": "saved"}}
CHECK = {"name": "check", "phase": "Validate", "exists": {"kind": "ConfigMap", "nmae": "x"}}
WRONG = "spec.lifecycle.actions[0] (save).exists.nmae: there is no such field: correct its name"


def wrong(**fields: Any) -> dict[str, Any]:
    """An action that cannot be run."""
    return {**SAVE, "exists": {"kind": "ConfigMap", "nmae": "saved"}, **fields}


async def changed(**spec: Any) -> World:
    """A world with a release, whose resource was changed since and is being deleted."""
    world = await deployed()
    world.put(spec, deleting=True)
    return world


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        (wrong(), WRONG),
        (wrong(phase="PostDelete"), WRONG),
        ({"name": "save", "phase": "Predelete"}, "spec.lifecycle.actions[0] (save).phase: "),
    ],
    ids=["PreDelete", "PostDelete", "misspelt"],
)
async def test_a_deletion_waits_for_the_correction_of_what_may_save_data(action: dict[str, Any], problem: str) -> None:
    """As it waits for one that fails. Nothing of it has begun then, and the message says how it goes on."""
    world = await changed(lifecycle={"actions": [action, {**SAVE, "name": "other"}]})
    for _ in range(2):
        assert (await world.reconcile() or 0) > 0
        assert world.helm.commands == ["upgrade"]
        message = world.condition("Ready")["message"]
        assert message.startswith(f"An invalid action of PreDelete or PostDelete blocks the uninstall: {problem}")
        assert world.condition("Ready")["reason"] == "LifecycleInvalid"
        assert world.status["attempt"]["outlook"] == "Retry"
        hint = f"Correct the action, or remove it from spec.lifecycle.actions, or leave the release: {ORPHAN}"
        assert world.status["lastFailure"]["hint"] == hint
        assert [each["name"] for each in world.status["phases"]] == []
        world.retry_now()
        world.put(deleting=True)
    assert len(world.event_messages("LifecycleInvalid")) == 1

    world.put({"lifecycle": {"actions": []}}, deleting=True)
    assert await world.reconcile() is None
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.resource is None


@pytest.mark.parametrize("phase", ["PreDelete", "PostDelete"])
async def test_a_failed_action_says_how_to_delete_without_it(phase: str) -> None:
    """It is retried without end, so whoever waits for the deletion needs to know the way out."""
    world = await changed(lifecycle={"actions": [{**SAVE, "phase": phase}]})
    await world.reconcile()

    assert world.condition("Ready")["message"] == "Action save (exists) failed: ConfigMap apps/saved does not exist"
    assert world.status["lastFailure"]["hint"] == (
        "The deletion waits until this action succeeds. To delete without it, remove it from spec.lifecycle.actions, or set"
        " spec.deletionPolicy to Orphan. See what exists: kubectl --namespace apps get configmap"
    )


async def test_a_failed_action_without_a_hint_has_one_at_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await changed(lifecycle={"actions": [SAVE]})

    async def refused(_: Any) -> None:
        raise KubeError("ConfigMap saved cannot be read", reason=Reason.OBJECT_INVALID, transient=True, status=422)

    monkeypatch.setattr(world.cluster, "get", refused)
    await world.reconcile()

    assert world.status["lastFailure"]["hint"] == (
        "Remove the cause of the failure; or, to delete without this action, remove it from spec.lifecycle.actions,"
        f" or leave the release: {ORPHAN}"
    )


async def test_a_deletion_that_waits_ends_without_its_release() -> None:
    world = await changed(lifecycle={"actions": [wrong()]})
    await world.reconcile()
    world.put({"deletionPolicy": "Orphan"}, deleting=True)
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert world.resource is None


@pytest.mark.parametrize("other", [CHECK, wrong(name="other", onError="Continue")], ids=["Validate", "Continue"])
async def test_only_the_invalid_action_is_left_out(other: dict[str, Any]) -> None:
    """Not the backup beside it: its failure still blocks the deletion."""
    world = await changed(lifecycle={"actions": [other, SAVE]})
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["message"] == "Action save (exists) failed: ConfigMap apps/saved does not exist"
    (message,) = world.event_messages("LifecycleInvalid")
    assert message.startswith(
        f"Uninstalling without invalid actions: spec.lifecycle.actions[0] ({other['name']}).exists"
    )

    world.cluster.objects["saved"] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "saved"}}
    world.retry_now()
    world.put(deleting=True)
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]


@pytest.mark.parametrize("unreadable", [{"timeout": "soon"}, {"timeout": "soon", "lifecycle": {"validation": 1}}])
async def test_an_unreadable_spec_keeps_the_actions_that_save_data(unreadable: dict[str, Any]) -> None:
    lifecycle = {**unreadable.get("lifecycle", {}), "actions": [SAVE]}
    world = await changed(**{**unreadable, "lifecycle": lifecycle})
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["message"] == "Action save (exists) failed: ConfigMap apps/saved does not exist"


async def test_misspelt_actions_are_not_forgotten() -> None:
    world = await changed(lifecycle={"action": [SAVE]})
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["message"].endswith(
        ": spec.lifecycle.action: there is no such field: correct its name"
    )


async def test_a_misspelt_field_that_is_no_action_does_not_block_the_deletion() -> None:
    world = await changed(lifecycle={"validation": {"evry": "5m"}})
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.resource is None


# ---- the operator does not work in the namespace of the release


async def test_a_target_outside_the_list_runs_nothing() -> None:
    world = World()
    world.api.scope = Scope(("team-a",))
    world.put({})
    assert await world.reconcile() is None
    assert world.helm.commands == []
    assert world.condition("Ready")["reason"] == "Forbidden"
    assert "The operator does not work in namespace apps" in world.condition("Ready")["message"]
    assert world.condition("Stalled")["status"] == "True"

    world.put(deleting=True)
    assert await world.reconcile() is None
    assert world.resource is None
    assert world.event_messages("ReleaseLeft") == []


async def test_a_longer_list_lets_the_resource_run() -> None:
    """At the next start: nobody has to touch the resource."""
    world = World()
    world.api.scope = Scope(("team-a",))
    world.put({})
    await world.reconcile()
    world.api.scope = Scope(("team-a", "apps"))
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["status"] == "True"


async def test_a_release_that_cannot_be_reached_holds_its_resource() -> None:
    """It would be forgotten otherwise; the hint has the command that leaves it."""
    world = await deployed()
    world.api.scope = Scope(("team-a",))
    assert await world.reconcile() is None
    assert world.resource is not None
    assert world.helm.commands == ["upgrade"]
    failure = world.status["lastFailure"]
    assert failure["reason"] == "Forbidden"
    assert failure["message"] == (
        "The release apps/web cannot be uninstalled: the operator no longer works in namespace apps"
    )
    assert "kubectl patch managedchart web --namespace apps" in failure["hint"]

    world.put({"deletionPolicy": "Orphan"}, deleting=True)
    assert await world.reconcile() is None
    assert world.resource is None
    assert world.helm.commands == ["upgrade"]
    assert world.event_messages("ReleaseLeft") == [
        "The release apps/web stays: the operator no longer works in namespace apps"
    ]


async def test_a_namespace_that_is_being_deleted_does_not_wait_for_a_release_out_of_reach() -> None:
    """The Event is where somebody can still read it."""
    world = await deployed()
    world.api.scope = Scope(("team-a",))
    world.cluster.namespace = NamespaceState.TERMINATING
    assert await world.reconcile() is None
    assert world.resource is None
    assert world.helm.commands == ["upgrade"]
    assert world.events.elsewhere == [
        ("ReleaseLeft", "The release apps/web stays: the operator no longer works in namespace apps")
    ]


async def test_the_actions_around_an_uninstall_leave_the_release_of_others_alone() -> None:
    """One that stays is in use: what precedes its uninstall would stop it, and what follows would delete its data."""
    world = World()
    world.secrets.add("deployed")
    absent = {"exists": {"kind": "ConfigMap", "name": "nothing"}}
    actions = [{"name": phase.lower(), "phase": phase, **absent} for phase in ("PreDelete", "PostDelete")]
    world.put({"action": "Destroy", "lifecycle": {"actions": actions}})

    await world.reconcile()

    assert world.condition("Ready")["reason"] == "Destroyed"
    assert not {"PreDelete", "PostDelete"} & {each["name"] for each in world.status["phases"]}
    assert world.secrets.statuses == ["deployed"]
