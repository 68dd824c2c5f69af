"""Why a run begins, in the words of its Event and of the condition Reconciling."""

import asyncio

import pytest

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.helm.values import read_values
from managedchart_operator.reconcile.causes_of_runs import Input, Requests, cause_of
from managedchart_operator.reconcile.digest import digest_of, digest_without_inputs
from managedchart_operator.reconcile.last_run import LastRun
from unit.reconcile.world import World

BROKEN = "Error: UPGRADE FAILED: something else\n"
DONE = LastRun(attempt="one", digest="2-a", inputs={"chart": "1", "values": "1"}, chart_version="1.0.0", ended_at=1.0)
FAILED = LastRun(attempt="one", digest="2-a", failures=2, reason="ImagePull", ended_at=1.0)
STOPPED = LastRun(attempt="one", digest="2-a", interrupted=True, stopped=True)
NOTED = {"chart": "1", "values": "1"}


def text(last: LastRun, parts: dict[str, str] | None = None, *, same: bool = False, **requests: bool) -> str:
    return cause_of(Input(parts or {}, same, "1.1.0"), last, Requests(**requests), retry_limit=5)


@pytest.mark.parametrize(
    ("parts", "changed"),
    [
        ({"chart": "1", "values": "2"}, "values"),
        ({"chart": "1"}, "values"),
        ({"chart": "2", "values": "1"}, "chart (1.0.0 to 1.1.0)"),
        ({"chart": "2", "values": "2", "set": "1", "wait": "1"}, "chart (1.0.0 to 1.1.0), values, set, wait"),
    ],
)
def test_the_parts_that_changed_are_named(parts: dict[str, str], changed: str) -> None:
    assert text(DONE, parts) == f"changed since the last attempt: {changed}"


def test_a_constraint_is_no_version() -> None:
    now = Input({"chart": "2", "values": "1"}, same=False, chart_version="1.x")
    assert cause_of(now, DONE, Requests(), retry_limit=5) == "changed since the last attempt: chart"


def test_without_both_inputs_less_is_said() -> None:
    """The status of an earlier operator, and inputs that cannot be read."""
    earlier = LastRun(digest="before", ended_at=1.0, current=False)
    assert text(earlier, NOTED) == "the spec changed"
    assert text(LastRun(digest="before", ended_at=1.0), NOTED) == "the chart or the values changed"
    assert text(DONE, {}) == "the chart or the values changed"
    assert text(LastRun(attempt="one", failures=1, reason="ChartNotFound"), NOTED) == "retry 1 of 5 after ChartNotFound"


def test_retries_are_counted() -> None:
    assert text(FAILED, same=True) == "retry 2 of 5 after ImagePull"
    exhausted = LastRun(attempt="one", digest="2-a", failures=6, reason="Forbidden", ended_at=1.0)
    assert text(exhausted, same=True) == "checking again after Forbidden, with all retries used"


def test_requests_and_stops_are_named() -> None:
    assert text(FAILED, same=True, retry=True) == "requested by the annotation managedchart.dev/retry"
    assert text(DONE, same=True, retry=True, force=True) == "requested by the annotation managedchart.dev/force"
    assert text(FAILED, same=True, granted=True) == "the missing permission was granted"
    assert text(STOPPED, same=True) == "the operator was stopped during the last attempt"
    assert text(LastRun(attempt="one", digest="2-a", interrupted=True), same=True) == "the last attempt was interrupted"


def test_nothing_is_said_of_no_attempt() -> None:
    assert text(LastRun(), NOTED) == ""
    assert text(DONE, NOTED, same=True) == ""


def test_the_parts_of_an_input_are_named_as_in_the_spec() -> None:
    """Only what is set, and eight digits of a digest each."""
    spec = ManagedChartSpec.model_validate(
        {
            "chart": {"path": "/charts/web"},
            "valuesFiles": ["/charts/a.yaml"],
            "yamlFilesContent": [{"filename": "b.yaml", "yamlContent": "b: 1"}],
            "values": {"password": "hunter2"},
            "set": [{"key": "c", "value": "1"}],
            "wait": False,
            "timeout": "7m",
        }
    )
    values = read_values(
        files=[("/charts/a.yaml", b"a: 1")],
        yaml_files=spec.yaml_files_content,
        values=spec.values,
        set_values=spec.set,
    )
    parts = digest_of(spec, chart="f", values=values).parts()
    assert list(parts) == ["chart", "valuesFiles", "yamlFilesContent", "values", "set", "wait"]
    assert {len(part) for part in parts.values()} == {8}
    assert digest_without_inputs(spec).parts() == {}

    changed = spec.model_copy(update={"values": {"password": "hunter3"}})
    again = read_values(
        files=[("/charts/a.yaml", b"a: 1")],
        yaml_files=spec.yaml_files_content,
        values=changed.values,
        set_values=spec.set,
    )
    other = digest_of(changed, chart="f", values=again).parts()
    assert [name for name in parts if parts[name] != other[name]] == ["values"]


async def test_events_and_conditions_say_it() -> None:
    world = World()
    world.put()
    await world.reconcile()
    assert world.event_messages("InstallStarted") == ["The release does not exist"]

    world.put({"values": {"a": 1}, "forceUpgrade": True})
    await world.reconcile()
    assert world.event_messages("UpgradeStarted") == ["Changed since the last attempt: values, forceUpgrade"]

    world.put({"values": {"a": 2}, "atomic": False, "retry": {"backoff": "1s"}})
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    world.retry_now()
    world.helm.killed_in = "upgrade"
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    assert world.condition("Reconciling")["message"] == "Upgrade: Retry 1 of 5 after HelmFailed"
    assert world.status["summary"] == "Upgrade: Retry 1 of 5 after HelmFailed"

    world.helm.killed_in = None
    world.put(requests={"managedchart.dev/force": "now"})
    await world.reconcile()
    assert world.event_messages("UpgradeStarted")[-1] == "Requested by the annotation managedchart.dev/force"


async def test_a_takeover_says_so() -> None:
    world = World()
    world.secrets.add("deployed")
    world.put()
    await world.reconcile()
    assert world.event_messages("UpgradeStarted") == ["Taking over revision 1, which was not made by this resource"]


async def test_a_release_changed_by_others_says_so() -> None:
    world = World()
    world.put()
    await world.reconcile()
    world.secrets.mark("superseded", of="deployed")
    world.secrets.add(
        "deployed", world.secrets.secrets[1]["metadata"]["labels"] | {"version": "2", "status": "deployed"}
    )
    await world.reconcile()
    assert world.event_messages("UpgradeStarted") == ["Revision 2 (deployed) was created outside the operator"]
