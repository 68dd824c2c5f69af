"""The default lifecycle: which phases run, in which order, and what a failure does."""

import asyncio
from typing import Any

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, LifecycleError, OperatorError
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import EVENT, FakeRelease, bench

ALL = ("check_prerequisites", "pre_exec", "exec", "post_exec", "validate")


class Traced(Lifecycle):
    """Adds its name to the payload in each phase; raises in the phases of `raises`."""

    def __init__(self, **raises: BaseException) -> None:
        self.raises = raises
        self.seen: list[tuple[str, Payload]] = []
        self.explained: OperatorError | None = None

    def _step(self, name: str, payload: Payload) -> Payload:
        self.seen.append((name, dict(payload)))
        if name in self.raises:
            raise self.raises[name]
        return {**payload, name: True}

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        return self._step("check_prerequisites", payload)

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        return self._step("pre_exec", payload)

    async def exec(self, context: PhaseContext, payload: Payload) -> Payload:
        return self._step("exec", payload)

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: OperatorError) -> Payload:
        self.explained = error
        return self._step("on_deploy_failure", payload)

    async def post_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        return self._step("post_exec", payload)

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        return self._step("validate", payload)


def helm_error() -> HelmError:
    return HelmError("the release failed", reason=Reason.HELM_FAILED, transient=True, text="Error: boom")


async def test_phases_run_in_order_and_pass_payloads_on() -> None:
    lifecycle, b = Traced(), bench()
    result = await lifecycle.run(b.context)
    assert [name for name, _ in lifecycle.seen] == list(ALL)
    assert [list(payload) for _, payload in lifecycle.seen] == [list(ALL[:done]) for done in range(len(ALL))]
    assert list(result) == list(ALL)
    assert b.recorder.phases == [
        "CheckPrerequisites+", "CheckPrerequisites.", "PreExec+", "PreExec.", "Exec+", "Exec.", "stored",
        "PostExec+", "PostExec.", "Validate+", "Validate.",
    ]  # fmt: skip


async def test_on_deploy_failure_runs_before_the_error_is_raised() -> None:
    """on_deploy_failure gets the payload of pre_exec and the same error; no phase after it runs."""
    error = helm_error()
    lifecycle, b = Traced(exec=error), bench()
    with pytest.raises(HelmError) as raised:
        await lifecycle.run(b.context)
    assert raised.value is error
    assert lifecycle.explained is error
    assert [name for name, _ in lifecycle.seen] == ["check_prerequisites", "pre_exec", "exec", "on_deploy_failure"]
    assert list(lifecycle.seen[-1][1]) == ["check_prerequisites", "pre_exec"]
    assert b.recorder.phases[-4:] == ["Exec+", "Exec!", "OnDeployFailure+", "OnDeployFailure."]


@pytest.mark.parametrize(
    "second", [LifecycleError("no access to logs"), KeyError("logs")], ids=["reported", "unhandled"]
)
async def test_a_failing_on_deploy_failure_keeps_the_first_error(second: Exception) -> None:
    error = helm_error()
    lifecycle, b = Traced(exec=error, on_deploy_failure=second), bench()
    with pytest.raises(HelmError) as raised:
        await lifecycle.run(b.context)
    assert raised.value is error
    assert b.recorder.phases[-1] == "OnDeployFailure!"
    assert "logs" in b.recorder.errors[Phase.ON_DEPLOY_FAILURE].message


@pytest.mark.parametrize("phase", ["check_prerequisites", "pre_exec"])
async def test_no_evidence_is_collected_before_exec(phase: str) -> None:
    lifecycle, b = Traced(**{phase: LifecycleError("no quota")}), bench()
    with pytest.raises(LifecycleError, match="no quota"):
        await lifecycle.run(b.context)
    assert [name for name, _ in lifecycle.seen] == list(ALL[: ALL.index(phase) + 1])
    assert b.recorder.phases[-1].endswith("!")


@pytest.mark.parametrize("phase", ["post_exec", "validate"])
async def test_evidence_is_collected_when_a_later_phase_fails(phase: str) -> None:
    """An atomic chart is rolled back then too, which deletes what would explain the failure."""
    lifecycle, b = Traced(**{phase: LifecycleError("no answer")}), bench()
    with pytest.raises(LifecycleError, match="no answer"):
        await lifecycle.run(b.context)
    assert [name for name, _ in lifecycle.seen] == [*ALL[: ALL.index(phase) + 1], "on_deploy_failure"]


@pytest.mark.parametrize(("phase", "shown"), [("pre_exec", Phase.PRE_EXEC), ("exec", Phase.EXEC)])
@pytest.mark.parametrize("defect", [ZeroDivisionError("division by zero"), SystemExit(2)], ids=repr)
async def test_an_unhandled_error_names_its_phase(phase: str, shown: Phase, defect: BaseException) -> None:
    """An exception of a plug-in, or its `sys.exit()`, must neither end the operator nor look like the chart's fault."""
    lifecycle, b = Traced(**{phase: defect}), bench()
    with pytest.raises(OperatorError) as raised:
        await lifecycle.run(b.context)
    assert raised.value.message == f"Unhandled error in phase {shown}: {type(defect).__name__}: {defect}"
    assert raised.value.reason is Reason.INTERNAL_ERROR
    assert raised.value.transient, "a corrected plug-in comes with a restart, and has to be tried then"
    assert raised.value.__cause__ is defect
    assert b.recorder.errors[shown] is raised.value


async def test_a_cancelled_phase_is_not_a_failure() -> None:
    lifecycle, b = Traced(exec=asyncio.CancelledError()), bench()
    with pytest.raises(asyncio.CancelledError):
        await lifecycle.run(b.context)
    assert b.recorder.phases[-1] == "Exec+"
    assert b.recorder.errors == {}


@pytest.mark.parametrize(
    ("action", "operation", "calls"),
    [
        (Action.DEPLOY, Operation.INSTALL, ["check_inputs", "check_namespace", "upgrade"]),
        (Action.DEPLOY, Operation.UPGRADE, ["check_inputs", "check_namespace", "upgrade"]),
        (Action.DEPLOY, Operation.DRY_RUN, ["check_inputs", "check_namespace", "upgrade"]),
        (Action.DEPLOY, Operation.RESUME, ["check_inputs", "check_namespace", "resume"]),
        (Action.DESTROY, Operation.UNINSTALL, ["uninstall"]),
        (Action.SKIP, Operation.SKIP, []),
    ],
)
async def test_the_default_phases_carry_out_the_operation(
    action: Action, operation: Operation, calls: list[str]
) -> None:
    """Resume runs no helm process; nothing about the chart or its values blocks Destroy and Skip."""
    b = bench(action=action, operation=operation)
    await Lifecycle().run(b.context)
    assert b.release.calls == calls


async def test_on_deploy_failure_records_the_evidence() -> None:
    b = bench(release=FakeRelease(raises={"upgrade": helm_error()}))
    with pytest.raises(HelmError):
        await Lifecycle().run(b.context)
    assert b.release.calls[-2:] == ["upgrade", "collect_evidence"]
    assert (b.recorder.findings.events, b.recorder.findings.incomplete) == ([EVENT], "no logs")


BREAKING: dict[str, Any] = {"last_breaking_version_requiring_restart": "2.0.0"}


async def test_crossing_the_breaking_version_uninstalls_first() -> None:
    b = bench(release=FakeRelease(installed_version="1.9.9"), **BREAKING)
    await Lifecycle().run(b.context)
    assert b.release.calls[-4:] == ["installed", "chart_version", "uninstall", "upgrade"]


@pytest.mark.parametrize("installed", ["2.0.0", "2.1.0", None], ids=["at it", "above it", "nothing installed"])
async def test_staying_below_the_breaking_version_uninstalls_nothing(installed: str | None) -> None:
    b = bench(release=FakeRelease(installed_version=installed), **BREAKING)
    await Lifecycle().run(b.context)
    assert "uninstall" not in b.release.calls
    assert b.release.calls[-1] == "upgrade"


@pytest.mark.parametrize("operation", [Operation.DRY_RUN, Operation.RESUME])
async def test_runs_without_changes_never_uninstall(operation: Operation) -> None:
    b = bench(release=FakeRelease(installed_version="1.0.0"), operation=operation, **BREAKING)
    await Lifecycle().run(b.context)
    assert "uninstall" not in b.release.calls


async def test_without_a_breaking_version_nothing_is_read() -> None:
    b = bench(release=FakeRelease(installed_version="1.0.0"))
    await Lifecycle().run(b.context)
    assert "installed" not in b.release.calls


async def test_a_failed_uninstall_fails_the_run() -> None:
    release = FakeRelease(installed_version="1.0.0", raises={"uninstall": helm_error()})
    b = bench(release=release, **BREAKING)
    with pytest.raises(HelmError):
        await Lifecycle().run(b.context)
    assert "upgrade" not in release.calls
