"""Durations beyond a bound, in specs that were stored before the bound existed (S21)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.bounds import BACKOFF, MAX_BACKOFF, TIMEOUT
from managedchart_operator.api.duration import seconds
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.reconcile.clamping import clamp
from managedchart_operator.reconcile.digest import digest_without_inputs
from unit.api.cases import BEYOND_BOUNDS, PATH, Case
from unit.reconcile.world import World

BEYOND = {"timeout": "48h", "retry": {"backoff": "100ms", "maxBackoff": "500ms"}}
SAID = (
    "spec.timeout is 48h, but can be at most 24h: the operator uses 24h; spec.retry.backoff is 100ms, but can be from 1s to 24h"
    ": the operator uses 1s; spec.retry.maxBackoff is 500ms, but can be from 1s to 24h: the operator uses 1s"
)
BROKEN = "Error: UPGRADE FAILED: something else\n"


def read(**fields: object) -> ManagedChartSpec:
    return ManagedChartSpec.model_validate({"chart": PATH, **fields})


def test_values_beyond_a_bound_are_replaced_by_it() -> None:
    within, said = clamp(read(**BEYOND))
    assert (within.timeout, within.retry.backoff, within.retry.max_backoff) == ("24h", "1s", "1s")
    assert said == SAID


def test_a_spec_within_the_bounds_stays_as_it_is() -> None:
    spec = read(timeout="24h", retry={"backoff": "1s", "maxBackoff": "24h"})
    assert clamp(spec) == (spec, "")


@pytest.mark.parametrize("case", BEYOND_BOUNDS, ids=str)
def test_everything_that_the_api_server_now_refuses_is_clamped(case: Case) -> None:
    within, said = clamp(ManagedChartSpec.model_validate(case.spec))
    assert said
    assert clamp(within) == (within, "")


@given(number=st.integers(1, 999_999), unit=st.sampled_from(["ms", "s", "m", "h"]))
def test_a_clamped_duration_is_within_its_bounds(number: int, unit: str) -> None:
    for bound in (TIMEOUT, BACKOFF, MAX_BACKOFF):
        used = bound.clamped(f"{number}{unit}")
        assert seconds(bound.least or "1ms") <= seconds(used) <= seconds(bound.most)


async def stored(**spec: object) -> World:
    """A world of before: deployed while the spec had no bounds, or carried out otherwise."""
    world = World()
    world.put({**BEYOND, **spec})
    await world.reconcile()
    return world


async def test_it_is_reported_once_and_deploys_nothing() -> None:
    """The status of an operator that knew no bounds says nothing of them."""
    world = await stored()
    world.api.status["conditions"] = [each for each in world.status["conditions"] if each["type"] != "Clamped"]
    world.events.posted.clear()
    world.put(None)
    for _ in range(3):
        assert await world.reconcile() is None
    assert world.helm.commands == ["upgrade"]
    assert world.events.posted == [("Warning", "SpecClamped", SAID)]
    assert world.condition("Clamped")["message"] == SAID
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("action", ["Skip", "Destroy"])
async def test_an_upgrade_runs_nothing_where_the_digest_covers_the_spec(action: str) -> None:
    """Of Skip and Destroy no inputs are read, so their digest is that of the stored spec."""
    world = await stored(action=action)
    assert world.status["attempt"]["digest"] == digest_without_inputs(_stored_spec(world)).text
    before = world.status["attempt"]
    world.put(None)
    await world.reconcile()
    assert world.status["attempt"] == before
    assert world.helm.commands == []


async def test_the_condition_goes_when_the_spec_is_within_its_bounds() -> None:
    world = await stored()
    world.put({"timeout": "24h", "retry": {}})
    await world.reconcile()
    assert world.condition("Clamped") == {}
    assert world.helm.commands == ["upgrade"]


async def test_a_failure_is_retried_no_sooner_than_the_floor() -> None:
    world = World()
    world.put({**BEYOND, "atomic": False})
    world.helm.refusals["upgrade"] = [BROKEN]
    delay = await world.reconcile()
    assert delay is not None
    assert 0.5 < delay <= 1.0


async def test_helm_gets_the_clamped_timeout() -> None:
    world = await stored()
    assert "--timeout=24h" in world.helm.ran[0]


def _stored_spec(world: World) -> ManagedChartSpec:
    assert world.resource is not None
    return ManagedChartSpec.model_validate(world.resource.spec)
