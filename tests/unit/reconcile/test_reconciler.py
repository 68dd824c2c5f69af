"""Passes over one resource from end to end, over fakes: what helm is asked to do, and what the status says then."""

import asyncio
import time
from typing import Any

import pytest

from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.errors import KubeError, ValuesError
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.lifecycle import lifecycles
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import reconciler, remediation
from unit.reconcile.fakes import chart, unavailable
from unit.reconcile.world import World

IN_APPS = {"chart": {"path": "/charts/web"}, "targetNamespace": "apps"}
BROKEN = "Error: UPGRADE FAILED: something else\n"


async def deployed(**spec: Any) -> World:
    """A world in which the chart is deployed as revision 1."""
    world = World()
    world.put(spec)
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    return world


async def test_a_new_resource_is_installed() -> None:
    world = await deployed()
    assert world.helm.commands == ["upgrade"]
    attempt, labels = world.status["attempt"], world.secrets.secrets[1]["metadata"]["labels"]
    assert (attempt["operation"], attempt["revision"]) == ("Install", 1)
    assert attempt["digest"] == labels["managedchart.dev/digest"]
    assert attempt["proven"]
    assert attempt["endedAt"]
    assert world.condition("Ready")["message"] == "web 1.0.0 is deployed as revision 1"
    assert [reason for _, reason, _ in world.events.posted] == ["InstallStarted", "Deployed"]


async def test_in_sync_costs_nothing() -> None:
    """No helm process and no write, however often it is looked at."""
    world = await deployed()
    patches = len(world.api.patches)
    for _ in range(3):
        assert await world.reconcile() is None
    assert world.helm.commands == ["upgrade"]
    assert len(world.api.patches) == patches


async def test_an_irrelevant_change_is_only_acknowledged() -> None:
    world = await deployed()
    world.put({"timeout": "7m"})
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.status["observedGeneration"] == world.status["attempt"]["generation"] == 2


async def test_changed_values_are_deployed() -> None:
    world = await deployed()
    world.put({"values": {"a": 1}})
    await world.reconcile()
    assert world.secrets.statuses == ["superseded", "deployed"]
    assert world.status["attempt"]["revision"] == 2


async def test_a_release_deleted_by_hand_is_reinstalled() -> None:
    world = await deployed()
    world.secrets.secrets.clear()
    await world.reconcile()
    assert world.helm.commands == ["upgrade"] * 2
    assert "outside the operator" in world.event_messages("ReleaseChanged")[0]


# ---- failures


async def test_a_failed_upgrade_is_rolled_back() -> None:
    world = await deployed()
    world.put({"values": {"a": 1}})
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]
    assert world.secrets.statuses == ["superseded", "superseded", "deployed"]
    assert world.status["lastFailure"]["revision"] == 2
    attempt = world.status["attempt"]
    assert (attempt["failures"], attempt["failedRevision"], attempt["revision"]) == (1, 2, 3)
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]
    assert world.condition("Reconciling")["message"].startswith("Rolled back to revision 1. Attempt 1 failed; retrying")


UNREADY = "Error: resource StatefulSet/apps/db not ready. status: InProgress, message: Ready: 0/1\ncontext deadline exceeded\n"


@pytest.mark.parametrize("refusal", [UNREADY, BROKEN])
async def test_a_rollback_that_a_pod_blocks_names_the_pod(refusal: str) -> None:
    """A StatefulSet does not replace a broken pod of the revision before; helm only says that it is not ready."""
    world = await deployed()
    pod = Identity("", "Pod", "apps", "db-0")
    world.cluster.not_replaced = Cause(
        Reason.TIMEOUT, "Pod apps/db-0 is not replaced", pod, hint="Delete the pod: kubectl"
    )
    world.put({"values": {"a": 1}})
    world.helm.refusals = {"upgrade": [BROKEN], "rollback": [refusal]}
    await world.reconcile()
    [message] = world.event_messages("RollbackFailed")
    assert (message == "The rollback failed: Pod apps/db-0 is not replaced (Delete the pod: kubectl)") is (
        refusal == UNREADY
    )
    assert message in world.condition("Reconciling")["message"]


async def test_without_atomic_a_failed_upgrade_stays() -> None:
    world = await deployed(atomic=False)
    world.put({"values": {"a": 1}})
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    assert world.secrets.statuses == ["deployed", "failed"]


async def test_a_failed_first_install_is_uninstalled() -> None:
    world = World()
    world.put()
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.event_messages("Uninstalled") == ["The failed first install was uninstalled"]


async def test_a_revision_of_others_gets_no_remedy() -> None:
    world = World()
    world.secrets.add("deployed")
    world.put()
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.secrets.statuses == ["deployed", "failed"]
    assert "was not made by this resource" in world.event_messages("ReleaseLeft")[0]


async def test_a_failure_is_retried_at_its_time() -> None:
    world = World()
    world.put({"atomic": False, "retry": {"backoff": "1h", "maxBackoff": "1h"}})
    world.helm.refusals["upgrade"] = [BROKEN]
    again = await world.reconcile()
    assert again is not None
    assert 3500 < again <= 3600
    assert 3500 < (await world.reconcile() or 0) <= 3600
    assert world.helm.commands == ["upgrade"]
    world.put(requests={"managedchart.dev/retry": "now"})
    assert await world.reconcile() is None
    assert world.condition("Ready")["status"] == "True"
    assert "lastFailure" not in world.status


async def test_the_same_failure_is_one_event() -> None:
    world = World()
    world.put({"atomic": False, "retry": {"backoff": "1s", "limit": 5}})
    world.helm.refusals["upgrade"] = [BROKEN, BROKEN]
    await world.reconcile()
    world.retry_now()
    await world.reconcile()
    assert world.status["attempt"]["failures"] == 2
    assert len(world.event_messages("HelmFailed")) == 1


async def test_unreadable_inputs_fail_check_prerequisites() -> None:
    world = World()
    world.put()
    world.charts.failure = ValuesError("values file /a: no", reason=Reason.VALUES_INVALID)
    assert await world.reconcile() is None
    assert world.status["lastFailure"]["phase"] == "CheckPrerequisites"
    assert world.condition("Stalled")["message"].startswith("Not retried automatically; change the spec")
    assert world.helm.commands == []


async def test_a_wrong_spec_names_its_field() -> None:
    world = World()
    world.put({"timeout": "soon"})
    assert await world.reconcile() is None
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert "spec.timeout" in world.condition("Ready")["message"]
    patches = len(world.api.patches)
    assert await world.reconcile() is None
    assert len(world.api.patches) == patches, "it stands in the status already"


async def test_an_outage_keeps_the_recorded_failure() -> None:
    """Why it failed, and when it may be retried, must outlast it."""
    world = World()
    world.put({"atomic": False, "retry": {"backoff": "1h", "maxBackoff": "1h"}})
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    before = dict(world.status)
    world.secrets.failure = unavailable()
    assert await world.reconcile() == 60, "a pass that only looks attempts nothing"
    assert world.status == before


@pytest.mark.parametrize(("lacks", "again"), [(False, 2), (True, 60)])
async def test_a_refusal_does_not_put_off_the_retry_of_a_failure(lacks: bool, again: float) -> None:
    """An API server that has just started refuses everybody. A refusal that lasts is reported, and asked about less often."""
    world = World()
    world.put({"atomic": False, "retry": {"backoff": "2s", "maxBackoff": "1h"}})
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    before = dict(world.status)
    answer = 'secrets is forbidden: User "u" cannot list resource "secrets" in API group "" in the namespace "apps"'
    refused = KubeError(f"403: {answer}", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer)
    world.secrets.failure = refused
    if lacks:
        world.cluster.permissions.denied.add(Permission("list", "secrets", "", "apps"))
    assert await world.reconcile() == again
    assert world.status == before
    assert bool(world.event_messages("Forbidden")) is lacks


@pytest.mark.parametrize("lacks", [False, True])
async def test_a_refusal_for_a_moment_changes_nothing_of_what_is_deployed(*, lacks: bool) -> None:
    """Ready would become False, with a hint to grant what is there, and the actions after exec would run again."""
    world = World()
    world.put()
    await world.reconcile()
    before = dict(world.status)
    answer = 'secrets is forbidden: User "u" cannot list resource "secrets" in API group "" in the namespace "apps"'
    world.secrets.failure = KubeError("403", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer)
    if lacks:
        world.cluster.permissions.denied.add(Permission("list", "secrets", "", "apps"))
    assert await world.reconcile() == pytest.approx(10.0, abs=1.0)
    assert (world.status == before) is not lacks
    assert bool(world.event_messages("Forbidden")) is lacks


async def test_a_defect_is_a_failure_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: object) -> None:
        raise KeyError("a")

    monkeypatch.setattr(reconciler, "parse_spec", breaks)
    world = World()
    world.put()
    again = await world.reconcile()
    assert again is not None
    assert world.condition("Ready")["reason"] == "InternalError"
    assert world.condition("Ready")["message"] == "Unhandled error: KeyError: 'a'"


async def test_a_defect_in_a_run_names_its_phase() -> None:
    world = World()
    world.put({"wait": False})

    async def run(*_: Any, **__: Any) -> None:
        raise KeyError("a")

    world.helm.run = run  # type: ignore[method-assign, assignment]
    await world.reconcile()
    failure = world.status["lastFailure"]
    assert (failure["reason"], failure["phase"]) == ("InternalError", "Exec")


async def test_the_same_message_is_recorded_once_retries_are_over() -> None:
    """A pending retry of the same error must not stay announced when nothing retries it."""
    world = World()
    world.put({"timeout": "soon"})
    await world.reconcile()
    world.status["attempt"] |= {"outlook": "Retry", "nextRetryAt": "2026-01-01T00:00:00Z"}
    world.put()
    assert await world.reconcile() is None
    assert world.status["attempt"]["outlook"] == "Change"


async def test_a_release_of_another_managedchart_is_refused() -> None:
    world = await deployed()
    world.secrets.secrets[1]["metadata"]["labels"]["managedchart.dev/owner"] = "uid-other"
    world.store.put(chart("other", namespace="other", uid="uid-other", spec={**IN_APPS, "releaseName": "web"}))
    world.put({"values": {"a": 1}})
    world.charts.failure = AssertionError("its inputs are not needed")
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["message"] == "The release apps/web belongs to another ManagedChart"


# ---- stopped in between


async def stopped(world: World) -> None:
    """The operator is stopped in the middle of helm's upgrade."""
    world.helm.killed_in = "upgrade"
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    world.helm.killed_in = None


async def test_the_own_lock_is_taken_over_after_restart() -> None:
    world = await deployed()
    world.put({"values": {"a": 1}})
    await stopped(world)
    assert world.secrets.statuses == ["deployed", "pending-upgrade"]
    await world.reconcile()
    assert world.secrets.statuses == ["superseded", "failed", "deployed"]
    assert world.condition("Ready")["status"] == "True"


async def test_what_a_stopped_run_left_is_rolled_back_if_the_next_one_fails_before_helm() -> None:
    world = await deployed()
    world.put({"values": {"a": 1}})
    await stopped(world)
    world.charts.failure = ValuesError("values file /a: no", reason=Reason.VALUES_INVALID)
    await world.reconcile()
    assert world.secrets.statuses == ["superseded", "superseded", "deployed"]
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]
    assert world.status["lastFailure"]["reason"] == "ValuesInvalid"


@pytest.mark.parametrize("limit", [0, 5])
async def test_an_outage_puts_off_a_remedy_for_a_moment_only(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not until the next attempt, or the next check of one that has given up."""
    world = await deployed()
    world.put({"values": {"a": 1}, "retry": {"limit": limit, "backoff": "2s", "maxBackoff": "1h"}})
    world.helm.refusals["upgrade"] = [BROKEN]
    outage = [unavailable()]
    monkeypatch.setattr(remediation, "newest_is_own", _fails_once(remediation.newest_is_own, outage))
    assert await world.reconcile() == pytest.approx(2, abs=0.1)
    assert world.secrets.statuses == ["deployed", "failed"]
    await world.reconcile()
    assert world.secrets.statuses == ["superseded", "superseded", "deployed"]


def _fails_once(call: Any, errors: list[KubeError]) -> Any:
    async def instead(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return await call(*arguments)

    return instead


async def test_a_stopped_run_is_resumed_without_helm() -> None:
    world = await deployed()
    attempt = world.status["attempt"]
    del attempt["endedAt"]
    attempt |= {"phase": "PostExec"}
    world.put()
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.status["attempt"]["operation"] == "Resume"
    assert world.status["attempt"]["endedAt"]


async def test_a_stopped_rollback_is_finished() -> None:
    world = await deployed()
    world.put({"values": {"a": 1}})
    world.helm.refusals["upgrade"] = [BROKEN]
    world.helm.killed_in = "rollback"
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    assert world.status["attempt"]["operation"] == "Rollback"
    assert world.secrets.statuses[-1] == "pending-upgrade"
    world.helm.killed_in = None
    world.secrets.secrets.pop(3)
    await world.reconcile()
    assert world.helm.commands[-1] == "rollback"
    assert world.secrets.statuses[-1] == "deployed"
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]


async def test_a_rollback_that_ended_before_a_stop_is_reported() -> None:
    """Otherwise the status would show the failed revision for ever."""
    world = await deployed()
    world.put({"values": {"a": 1}})
    world.helm.refusals["upgrade"] = [BROKEN]
    world.helm.stopped_after = "rollback"
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    assert world.status["release"]["revision"] == 2
    world.helm.stopped_after = None
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]
    assert world.status["release"]["revision"] == world.status["attempt"]["revision"] == 3
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]
    assert world.condition("Reconciling")["message"].startswith("Rolled back to revision 1. Attempt 1 failed; retrying")


async def test_a_foreign_lock_is_waited_for() -> None:
    world = await deployed()
    world.secrets.add("pending-upgrade", {"modifiedAt": str(int(time.time()))})
    world.put({"values": {"a": 1}})
    again = await world.reconcile()
    assert again is not None
    assert 250 < again <= 300
    assert world.helm.commands == ["upgrade"]
    message = world.condition("Reconciling")["message"]
    assert message.startswith("Another Helm operation is in progress (revision 2 is pending-upgrade).")
    assert "kubectl -n apps annotate managedchart web" in message
    world.put(requests={"managedchart.dev/force": "yes"})
    await world.reconcile()
    assert world.secrets.statuses == ["superseded", "failed", "deployed"]


# ---- other actions


async def test_destroy_uninstalls_once() -> None:
    world = await deployed()
    world.put({"action": "Destroy"})
    await world.reconcile()
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.status["phase"] == "Destroyed"
    assert "release" not in world.status


async def test_destroy_reports_what_existed_before_the_release() -> None:
    """Like the deletion of the resource: an Event of its own, so that it is not mistaken for a forgotten object."""
    world = World()
    world.cluster.objects["web"] = {"metadata": {"name": "web", "creationTimestamp": "2025-01-01T00:00:00Z"}}
    world.put({"atomic": False})
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    world.put({"action": "Destroy"})
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.event_messages("ReleaseLeft") == [
        "Uninstalled, except what existed before the release: ConfigMap apps/web"
    ]


async def test_skip_changes_nothing() -> None:
    world = World()
    world.put({"action": "Skip"})
    await world.reconcile()
    await world.reconcile()
    assert world.helm.commands == []
    assert world.condition("Ready")["message"] == "Nothing was changed, because spec.action is Skip"


# ---- lifecycles


class WithoutChecks(Lifecycle):
    """A plug-in that has its own prerequisites and does not call `super()`."""

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        return payload


@pytest.mark.parametrize("missing", [True, False])
async def test_create_namespace_works_without_check_prerequisites(
    monkeypatch: pytest.MonkeyPatch, *, missing: bool
) -> None:
    """Only where it is missing: helm applies even a namespace that exists, and needs more permissions for that."""
    monkeypatch.setattr(lifecycles, "find_lifecycle", lambda _: WithoutChecks())
    world = World(home="home")
    world.cluster.namespace = NamespaceState.MISSING if missing else NamespaceState.ACTIVE
    world.put({"createNamespace": True})
    await world.reconcile()
    assert ("--create-namespace" in world.helm.ran[0]) is missing


async def test_a_missing_namespace_is_reported() -> None:
    world = World(home="home")
    world.cluster.namespace = NamespaceState.MISSING
    world.put({"createNamespace": False})
    await world.reconcile()
    assert world.condition("Ready")["message"] == ("Namespace apps does not exist, and spec.createNamespace is false")
    assert world.helm.commands == []
