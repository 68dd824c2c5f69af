"""The actions of a phase run in their order, each is recorded, and the error of one names it."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import AccountMissingError, KubeError, LifecycleError, OperatorError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.silence import note
from managedchart_operator.lifecycle.actions import running
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.actions.verbs.exists import Exists
from managedchart_operator.lifecycle.actions.verbs.expect import Expect
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.lifecycle.versions import VersionRange
from managedchart_operator.lifecycle.with_actions import WithActions
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import run, stored
from unit.lifecycle.fakes import FakeRelease, bench

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there"}}
THERE: dict[str, Any] = {"exists": {"kind": "ConfigMap", "name": "there"}}
MISSING: dict[str, Any] = {"exists": {"kind": "ConfigMap", "name": "missing"}}


async def test_records_what_was_done() -> None:
    scene = bench(cluster=stored(CONFIG))

    await run(THERE, on=scene)

    entry = scene.recorder.actions["a0"]
    assert (entry.verb, entry.state, entry.attempts) == ("exists", "Succeeded", 1)
    assert entry.message == "1 ConfigMap there"
    assert entry.duration_seconds is not None


async def test_a_failure_ends_the_run_and_names_the_action() -> None:
    scene = bench(cluster=stored(CONFIG))

    with pytest.raises(LifecycleError) as failed:
        await run(MISSING, THERE, on=scene)

    assert failed.value.message == "Action a0 (exists) failed: ConfigMap apps/missing does not exist"
    assert failed.value.reason is Reason.LIFECYCLE_FAILED
    assert list(scene.recorder.actions) == ["a0"]


async def test_a_failure_that_may_continue_is_a_warning() -> None:
    scene = bench(cluster=stored(CONFIG))

    await run({**MISSING, "onError": "Continue"}, THERE, on=scene)

    assert [entry.state for entry in scene.recorder.actions.values()] == ["Failed", "Succeeded"]
    assert scene.recorder.warnings == [
        ("ActionFailed", "Action a0 (exists) failed: ConfigMap apps/missing does not exist"),
    ]


@pytest.mark.parametrize(
    ("phase", "namespace", "goes_on"),
    [
        (Phase.PRE_DELETE, "apps", True),
        (Phase.POST_DELETE, "apps", True),
        (Phase.PRE_EXEC, "apps", False),
        (Phase.PRE_DELETE, "exports", False),
    ],
)
async def test_what_can_never_be_created_holds_up_no_deletion(phase: Phase, namespace: str, *, goes_on: bool) -> None:
    """Only in the release's own namespace, which is being deleted: what others are for may be essential."""
    cluster = stored()
    answer = (
        f'jobs "a" is forbidden: unable to create new content in namespace {namespace} because it is being terminated'
    )
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}}
    ref = await cluster.locate(made, namespace)
    cluster.refuses[ref] = KubeError(
        answer, reason=Reason.NAMESPACE_TERMINATING, transient=True, status=403, answer=answer
    )
    scene = bench(cluster=cluster)
    action = {"apply": {"manifest": made}}

    if goes_on:
        await run(action, phase=phase, on=scene)
        ((reason, message),) = scene.recorder.warnings
        assert reason == "ActionFailed"
        assert "Namespace apps is being deleted" in message
    else:
        with pytest.raises(LifecycleError, match=f"Namespace {namespace} is being deleted"):
            await run(action, phase=phase, on=scene)


async def test_retries_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(running.asyncio, "sleep", sleep)
    scene = bench(cluster=stored(CONFIG))

    with pytest.raises(LifecycleError):
        await run({**MISSING, "retries": 2, "backoff": "7s"}, on=scene)

    assert scene.recorder.actions["a0"].attempts == 3
    assert slept == [7, 7]


async def test_an_action_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(self: Exists, scene: Any) -> None:
        scene.progress = "there is nothing yet"
        await asyncio.Event().wait()

    monkeypatch.setattr(Exists, "run", endless)

    with pytest.raises(OperatorError) as failed:
        await run({**MISSING, "timeout": "10ms"})

    assert failed.value.reason is Reason.PHASE_TIMEOUT
    assert failed.value.message == "Action a0 (exists) failed: It did not end within 10ms: there is nothing yet"


@pytest.mark.parametrize(("status", "reason"), [(409, Reason.LIFECYCLE_FAILED), (503, Reason.API_UNAVAILABLE)])
async def test_a_conflict_that_lasts_is_no_outage(status: int, reason: Reason) -> None:
    """As of a manifest with the resourceVersion of `kubectl get`: nothing would ever be rolled back because of it."""
    cluster = stored()
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}}
    answer = 'Operation cannot be fulfilled on configmaps "a": the object has been modified'
    cluster.refuses[await cluster.locate(made, "apps")] = KubeError(
        answer, reason=Reason.API_UNAVAILABLE, transient=True, status=status, answer=answer
    )

    with pytest.raises(LifecycleError) as failed:
        await run({"apply": {"manifest": made}, "timeout": "10ms"}, on=bench(cluster=cluster))

    assert failed.value.reason is reason


async def test_a_deadline_without_an_answer_says_nothing_about_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is cancelled, or a watch is begun again and again: the action itself does not notice."""

    async def unanswered(self: Exists, scene: Any) -> None:
        scene.progress = "there is nothing yet"
        note(answered=False, sent=0.0)
        await asyncio.Event().wait()

    monkeypatch.setattr(Exists, "run", unanswered)

    with pytest.raises(OperatorError) as failed:
        await run({**MISSING, "timeout": "10ms"})

    assert failed.value.reason is Reason.API_UNAVAILABLE
    assert failed.value.transient
    assert failed.value.message == (
        "Action a0 (exists) failed: It did not end within 10ms, and the API server does not answer: there is nothing yet"
    )


@pytest.mark.parametrize(
    ("when", "operation", "expected"),
    [
        ({"operation": "Install"}, Operation.UPGRADE, "The run upgrades the release"),
        ({"operation": "Upgrade"}, Operation.INSTALL, "The run installs the release"),
        ({"operation": "Upgrade"}, Operation.UPGRADE, None),
        ({"crosses": "1.5.0"}, Operation.UPGRADE, None),
        ({"crosses": "3.0.0"}, Operation.UPGRADE, "The run does not cross version 3.0.0"),
        ({"expr": "release.namespace == 'apps'"}, Operation.UPGRADE, None),
        ({"expr": "payload.size() > 0"}, Operation.UPGRADE, "when.expr is false"),
    ],
    ids=str,
)
async def test_runs_only_when_it_is_due(when: dict[str, str], operation: Operation, expected: str | None) -> None:
    scene = bench(cluster=stored(CONFIG), operation=operation, release=FakeRelease(installed_version="1.0.0"))

    await run({**THERE, "when": when}, on=scene)

    entry = scene.recorder.actions["a0"]
    assert (entry.state, entry.message if expected else None) == ("Skipped" if expected else "Succeeded", expected)


async def test_what_runs_before_exec_is_not_repeated_when_the_run_is_resumed() -> None:
    """The release is deployed, so the checks before it and its preparations have been passed."""
    scene = bench(operation=Operation.RESUME)

    await run(MISSING, on=scene, phase=Phase.PRE_EXEC)

    assert scene.recorder.actions["a0"].state == "Skipped"


async def test_a_profile_with_an_account_of_its_own_gets_nothing_of_the_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def look(self: Expect, scene: Any) -> Any:
        seen.append((scene.cluster.identity, scene.variables, scene.foreign))
        return running.Done("")

    monkeypatch.setattr(Expect, "run", look)
    (action,) = await read_actions(
        [{"name": "e", "phase": "PostExec", "expect": {"kind": "Pod", "name": "a", "expr": "true"}}]
    )
    own = Identity("platform", "checker")

    await run_actions([BoundAction(action, "profile/p", own)], Phase.POST_EXEC, bench().context, {"tenant": "data"})

    release = {"name": "web", "namespace": "apps"}
    assert seen == [(own, {"release": release, "spec": {}, "payload": {}}, True)]


async def of_profile(*, phase: str = "PostExec", **verb: Any) -> BoundAction:
    """One action of a profile, with an account of its own."""
    (action,) = await read_actions([{"name": "it", "phase": phase, **(verb or THERE)}])
    return BoundAction(action, "profile/p", Identity("platform", "checker"))


class NoAccounts:
    """No ServiceAccount exists."""

    async def check(self, identity: Identity | None) -> None:
        if identity is not None:
            raise AccountMissingError(f"ServiceAccount {identity.name} does not exist", hint="Create it.")


async def test_the_account_of_a_profile_must_exist() -> None:
    """The API server would accept it, with what an earlier account of its name was granted.

    It is not the tenant's that is missing, so the reason is not the one by which a removal gives up.
    """
    scene = bench(cluster=stored(CONFIG))
    missing = replace(await of_profile(), accounts=NoAccounts())

    with pytest.raises(LifecycleError) as failed:
        await run_actions([missing], Phase.POST_EXEC, scene.context, {})

    assert failed.value.message == ("Action it (exists) of profile/p failed: ServiceAccount checker does not exist")
    assert failed.value.reason is Reason.LIFECYCLE_FAILED
    assert failed.value.transient


async def test_what_an_account_of_a_profile_has_done_adds_nothing_to_the_payload() -> None:
    scene = bench(cluster=stored(CONFIG))

    assert await run_actions([await of_profile()], Phase.POST_EXEC, scene.context, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("first", ["spec", "profile"])
async def test_an_action_of_the_same_name_does_not_replace_what_a_profile_adds(
    monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The condition of a later action of the profile may depend on it."""

    async def look(self: Exists, _: Any) -> Any:
        return running.Done("", {"name": self.name})

    monkeypatch.setattr(Exists, "run", look)
    scene = bench(cluster=stored(CONFIG))
    profile = replace(await of_profile(), identity=None)
    mine = replace(
        await of_profile(exists={"kind": "ConfigMap", "count": 0, "name": "no"}), origin="spec", identity=None
    )
    actions = [mine, profile] if first == "spec" else [profile, mine]

    alone = await run_actions([profile], Phase.POST_EXEC, scene.context, {})
    assert alone == {"it": {"name": "there"}}
    assert await run_actions(actions, Phase.POST_EXEC, scene.context, {}) == alone


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Operation.UPGRADE, "Succeeded"),  # 2.0.0, the version of the chart that is deployed
        (Operation.UNINSTALL, "Skipped"),  # 1.0.0, the installed one
    ],
)
async def test_a_range_of_versions_is_about_the_chart_of_the_run(operation: Operation, expected: str) -> None:
    release = FakeRelease(installed_version="1.0.0", version="2.0.0")
    scene = bench(cluster=stored(CONFIG), operation=operation, release=release)
    bound = replace(await of_profile(), versions=VersionRange.parse(">=2"))

    await run_actions([bound], Phase.POST_EXEC, scene.context, {})

    entry = scene.recorder.actions["it"]
    assert entry.state == expected
    if expected == "Skipped":
        assert entry.message == "Version 1.0.0 of the chart is not in >=2, for which the profile is"


async def test_actions_follow_the_lifecycles_own_part() -> None:
    scene = bench(cluster=stored(CONFIG))
    actions = [
        BoundAction(each)
        for each in await read_actions([{"name": f"in-{phase}".lower(), "phase": phase, **THERE} for phase in PHASES])
    ]

    await WithActions(Lifecycle(), actions).run(scene.context)

    assert list(scene.recorder.actions) == ["in-checkprerequisites", "in-preexec", "in-postexec", "in-validate"]
    assert scene.release.calls == ["check_inputs", "check_namespace", "upgrade"]


async def test_a_removal_has_phases_of_its_own() -> None:
    scene = bench(cluster=stored(CONFIG), action=Action.DESTROY, operation=Operation.UNINSTALL)
    actions = [
        BoundAction(each)
        for each in await read_actions([{"name": f"in-{phase}".lower(), "phase": phase, **THERE} for phase in PHASES])
    ]

    await WithActions(Lifecycle(), actions).run(scene.context)

    assert list(scene.recorder.actions) == ["in-predelete", "in-postdelete"]
    assert [each for each in scene.recorder.phases if each.endswith("+")] == [
        f"{phase}+"
        for phase in ("CheckPrerequisites", "PreExec", "PreDelete", "Exec", "PostDelete", "PostExec", "Validate")
    ]


PHASES = ("CheckPrerequisites", "PreExec", "PostExec", "Validate", "PreDelete", "PostDelete")


@pytest.mark.parametrize(("silent", "ends"), [(2, "Succeeded"), (1000, "Failed")])
async def test_an_attempt_without_an_answer_does_not_count(
    silent: int, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the release, which a failed action would roll back; but it does not go on for ever."""
    scene, now = bench(cluster=stored(CONFIG)), [1000.0]
    asked, found = [], scene.cluster.get

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    async def get(ref: Any) -> Any:
        asked.append(ref)
        if len(asked) <= silent:
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        return await found(ref)

    monkeypatch.setattr(scene.cluster, "get", get)
    monkeypatch.setattr(running.asyncio, "sleep", sleep)
    monkeypatch.setattr(running.time, "monotonic", lambda: now[0])
    with contextlib.suppress(OperatorError):
        await run({**THERE, "timeout": "30s", "backoff": "10s"}, on=scene)

    entry = scene.recorder.actions["a0"]
    assert (entry.state, entry.attempts, len(asked)) == (ends, 1, 3)
