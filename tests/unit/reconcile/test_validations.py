"""The checks of a deployed release run again: failures in a row make it not Ready, and it heals without a run."""

import asyncio
import contextlib
from typing import Any, cast

import pytest

from managedchart_operator.api.lifecycle import Revalidation
from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import check_rounds
from managedchart_operator.reconcile.planning_places import MAX_CONCURRENT_PLANS
from managedchart_operator.reconcile.validations import Validations
from unit.lifecycle.profiles.samples import profile
from unit.reconcile.world import World

CHECK = {"name": "gate", "phase": "Validate", "exists": {"kind": "ConfigMap", "name": "gate"}}
KEY = Key("apps", "web")
GATE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gate"}}


class Clock:
    """A time that only tests let pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(clock: Clock) -> World:
    """A release that is deployed, with a check that passes."""
    world = World()
    world.cluster.objects["gate"] = GATE
    world.put({"lifecycle": {"actions": [CHECK]}})
    restart(world, clock)
    await world.reconcile()
    assert world.condition("Validated")["status"] == "True"
    return world


def restart(world: World, clock: Clock) -> None:
    """Begin with an operator that has just started; chance always chooses the middle."""
    events, telemetry = cast("Any", world.events), world.telemetry
    world.validations = Validations(events, telemetry, clock=clock, chance=lambda least, most: (least + most) / 2)


async def later(world: World, clock: Clock, seconds: float = 300.0) -> float | None:
    """Let time pass, then make the pass that the scheduler makes; returns the delay until the next."""
    clock.now += seconds
    world.put()
    return await world.reconcile()


async def test_the_next_validation_follows_a_run(clock: Clock) -> None:
    world = World()
    world.cluster.objects["gate"] = GATE
    world.put({"lifecycle": {"actions": [CHECK], "validation": {"every": "1m"}}})
    restart(world, clock)

    assert await world.reconcile() == pytest.approx(60.0)


async def test_a_validation_that_passes_writes_nothing(world: World, clock: Clock) -> None:
    written, helms = len(world.api.patches), len(world.helm.ran)

    assert await later(world, clock) == pytest.approx(300.0)

    assert len(world.api.patches) == written
    assert len(world.helm.ran) == helms


async def test_nothing_runs_before_it_is_due(world: World, clock: Clock) -> None:
    """Any event about the resource makes a pass."""
    del world.cluster.objects["gate"]

    assert await later(world, clock, seconds=100.0) == pytest.approx(200.0)

    assert "validation" not in world.status


async def test_so_many_failures_in_a_row_make_it_not_ready(world: World, clock: Clock) -> None:
    del world.cluster.objects["gate"]

    for failures in (1, 2):
        await later(world, clock)
        assert world.status["validation"]["failures"] == failures
        assert world.condition("Ready")["status"] == "True"
    await later(world, clock)

    message = "Action gate (exists) failed: ConfigMap apps/gate does not exist"
    for kind in ("Ready", "Validated"):
        found = world.condition(kind)
        assert (found["status"], found["reason"], found["message"]) == ("False", "ValidationFailed", message)
    assert world.status["lastFailure"]["phase"] == "Validate"
    assert world.status["phase"] == "Failed"
    assert world.event_messages("ValidationFailed") == [message]
    assert world.secrets.statuses == ["deployed"]


@pytest.mark.parametrize("lacks", [False, True])
async def test_an_account_that_cannot_be_read_for_a_moment_is_no_failure(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, lacks: bool
) -> None:
    """An API server that has just started refuses everybody."""
    what = 'cannot get resource "serviceaccounts" in API group "" in the namespace "apps"'
    answer = f'serviceaccounts "a" is forbidden: User "o" {what}'

    async def refuses(_: Any) -> str:
        raise KubeError("403", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer)

    monkeypatch.setattr(world.accounts, "check", refuses)
    if lacks:
        world.cluster.permissions.denied.add(Permission("get", "serviceaccounts", "", "apps"))
    await later(world, clock)

    assert ("validation" in world.status) is lacks


async def test_a_restarted_operator_goes_on_counting(world: World, clock: Clock) -> None:
    del world.cluster.objects["gate"]
    for _ in range(3):
        restart(world, clock)
        await later(world, clock)
        await later(world, clock)

    assert world.condition("Ready")["status"] == "False"


async def test_it_heals_without_a_run(world: World, clock: Clock) -> None:
    del world.cluster.objects["gate"]
    for _ in range(3):
        await later(world, clock)
    helms = len(world.helm.ran)
    world.cluster.objects["gate"] = GATE

    await later(world, clock)

    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Validated")["status"] == "True"
    assert (world.status["phase"], world.status.get("validation"), world.status.get("lastFailure")) == (
        "Ready",
        None,
        None,
    )
    assert len(world.event_messages("ValidationPassed")) == 1
    assert len(world.helm.ran) == helms


async def test_further_failures_write_nothing_new(world: World, clock: Clock) -> None:
    del world.cluster.objects["gate"]
    for _ in range(3):
        await later(world, clock)
    written = len(world.api.patches)

    await later(world, clock)

    assert len(world.api.patches) == written


async def test_an_api_server_that_does_not_answer_is_no_failure(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: Any) -> None:
        raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)

    monkeypatch.setattr(world.cluster, "get", silent)
    # Shorter than its backoff, so that it is not tried again.
    world.put({"lifecycle": {"actions": [{**CHECK, "timeout": "1s"}]}})

    assert await world.reconcile() == pytest.approx(300.0)

    assert "validation" not in world.status


async def test_changed_checks_are_carried_out_at_once(world: World, clock: Clock) -> None:
    """And without helm: they are not a part of what is deployed."""
    helms = len(world.helm.ran)
    other = {**CHECK, "exists": {"kind": "ConfigMap", "name": "other"}}
    world.put({"lifecycle": {"actions": [other], "validation": {"failureThreshold": 1}}})

    await world.reconcile()

    assert world.condition("Ready")["reason"] == "ValidationFailed"
    assert len(world.helm.ran) == helms


async def test_a_change_of_the_spec_does_not_hide_a_failure(world: World, clock: Clock) -> None:
    del world.cluster.objects["gate"]
    for _ in range(3):
        await later(world, clock)
    world.put({"timeout": "99s"})

    await world.reconcile()

    assert world.condition("Ready")["status"] == "False"


@pytest.mark.parametrize("lifecycle", [{"actions": []}, {"actions": [CHECK], "validation": {"every": "0s"}}], ids=str)
async def test_checks_that_are_turned_off_heal(world: World, clock: Clock, lifecycle: dict[str, Any]) -> None:
    del world.cluster.objects["gate"]
    for _ in range(3):
        await later(world, clock)

    world.put({"lifecycle": lifecycle})

    assert await world.reconcile() is None
    assert world.condition("Ready")["status"] == "True"


async def test_a_validation_on_time_observes_nothing_else(world: World, clock: Clock) -> None:
    """It costs the checks only: a change of the release makes a pass of its own."""
    reconciler = world.reconciler()
    clock.now += 300.0
    world.secrets.failure = AssertionError("the release was observed")

    assert await reconciler.reconcile(KEY, timed=True) == pytest.approx(300.0)

    assert world.telemetry.actions == [("exists", "succeeded")] * 2


async def test_a_pass_on_time_observes_the_release_if_the_spec_has_changed(world: World, clock: Clock) -> None:
    clock.now += 300.0
    world.put({"dryRun": False, "values": {"a": 1}})

    await world.reconciler().reconcile(KEY, timed=True)

    assert world.secrets.statuses == ["superseded", "deployed"]


class Hanging:
    """Answers to no request for the object `gate`."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = asyncio.Event()
        self._get = world.cluster.get
        monkeypatch.setattr(world.cluster, "get", self.get)

    async def get(self, ref: Any) -> dict[str, Any] | None:
        if ref.name != "gate":
            return await self._get(ref)
        self.asked.set()
        await asyncio.Event().wait()
        return None


async def test_checks_that_hang_keep_no_place_of_a_pass(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check may wait for a day; as many as there are places would stop all passes, also those that delete."""
    hanging, reconciler = Hanging(world, monkeypatch), world.reconciler()
    clock.now += 300.0
    validating = asyncio.create_task(reconciler.reconcile(KEY, timed=True))
    try:
        async with asyncio.timeout(5), contextlib.AsyncExitStack() as places:
            await hanging.asked.wait()
            for _ in range(MAX_CONCURRENT_PLANS):
                await places.enter_async_context(reconciler.planning.take(1000))
    finally:
        validating.cancel()
        await asyncio.gather(validating, return_exceptions=True)


RULE = {"name": "rule", "phase": "Validate", "exists": {"kind": "ConfigMap", "name": "rule"}}


class Asked:
    """Remembers which objects were read."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self._names: list[str] = []
        self._get = world.cluster.get
        monkeypatch.setattr(world.cluster, "get", self.get)

    async def get(self, ref: Any) -> dict[str, Any] | None:
        self._names.append(ref.name)
        return await self._get(ref)

    def since(self) -> list[str]:
        """The names since this was called last."""
        found, self._names = self._names, []
        return found


async def with_profile(world: World, clock: Clock, *, own: dict[str, Any], profiles: dict[str, Any]) -> None:
    """Let the spec and a profile have checks, each validated as it says; both pass now, and the next are planned."""
    world.cluster.objects["rule"] = {**GATE, "metadata": {"name": "rule"}}
    world.profiles.put(await profile("p", match={"chartNames": ["*"]}, actions=[RULE], validation=profiles))
    world.put({"lifecycle": {"actions": [CHECK], "validation": own}})
    await world.reconcile()


@pytest.mark.parametrize(("own", "profiles"), [("10s", "5m"), ("5m", "10s")])
async def test_each_origin_is_validated_at_its_own_interval(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, own: str, profiles: str
) -> None:
    """What a tenant writes makes the checks of an administrator neither cost more nor run less often, and vice versa."""
    often, seldom = ("gate", "rule") if own == "10s" else ("rule", "gate")
    await with_profile(world, clock, own={"every": own}, profiles={"every": profiles})
    asked, written = Asked(world, monkeypatch), len(world.api.patches)

    for _ in range(29):
        assert await later(world, clock, seconds=10.0) == pytest.approx(10.0)
        assert asked.since() == [often]
    await later(world, clock, seconds=10.0)

    assert sorted(asked.since()) == sorted([often, seldom])
    assert len(world.api.patches) == written


async def test_changed_checks_of_the_spec_leave_those_of_a_profile(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_profile(world, clock, own={"every": "5m"}, profiles={"every": "5m"})
    asked = Asked(world, monkeypatch)
    clock.now += 100.0

    world.put({"lifecycle": {"actions": [CHECK], "validation": {"every": "10m"}}})

    assert await world.reconcile() == pytest.approx(200.0)
    assert asked.since() == ["gate"]


async def test_checks_that_pass_heal_only_their_own_failures(world: World, clock: Clock) -> None:
    """A check of the ManagedChart that passes all the time would hide the one of an administrator that fails."""
    await with_profile(world, clock, own={"every": "10s"}, profiles={"every": "1m", "failureThreshold": 2})
    del world.cluster.objects["rule"]

    await later(world, clock, seconds=60.0)
    await later(world, clock, seconds=10.0)
    assert world.status["validation"]["failures"] == 1
    await later(world, clock, seconds=50.0)
    await later(world, clock, seconds=10.0)

    ready = world.condition("Ready")
    assert (ready["status"], ready["message"]) == (
        "False",
        "Action rule (exists) of profile/p failed: ConfigMap apps/rule does not exist",
    )
    assert world.status["validation"]["origin"] == "profile/p"
    world.cluster.objects["rule"] = GATE
    await later(world, clock, seconds=50.0)
    assert world.condition("Ready")["status"] == "True"
    assert "validation" not in world.status


async def test_the_failures_of_two_origins_are_shown_one_after_the_other(world: World, clock: Clock) -> None:
    once = {"every": "1m", "failureThreshold": 1}
    await with_profile(world, clock, own=once, profiles=once)
    rule, gate = world.cluster.objects.pop("rule"), world.cluster.objects.pop("gate")

    await later(world, clock, seconds=60.0)
    assert world.status["validation"]["action"] == "rule"
    assert [each["action"] for each in world.status["validation"]["others"]] == ["gate"]
    (phase,) = [each for each in world.status["phases"] if each["name"] == "Validate"]
    assert [(each["name"], each["state"]) for each in phase["actions"]] == [("rule", "Failed"), ("gate", "Failed")]

    world.cluster.objects["rule"] = rule
    await later(world, clock, seconds=60.0)
    assert world.condition("Ready")["message"] == "Action gate (exists) failed: ConfigMap apps/gate does not exist"
    assert world.status["lastFailure"]["message"] == world.condition("Ready")["message"]
    assert "others" not in world.status["validation"]
    assert len(world.event_messages("ValidationFailed")) == 2

    world.cluster.objects["gate"] = gate
    await later(world, clock, seconds=60.0)
    assert world.condition("Ready")["status"] == "True"
    assert len(world.event_messages("ValidationPassed")) == 1


async def test_checks_that_hang_delay_none_of_another_origin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a profile go on at their own interval while a check of the ManagedChart hangs."""
    world.cluster.objects["rule"] = {**GATE, "metadata": {"name": "rule"}}
    world.profiles.put(await profile("p", match={"chartNames": ["*"]}, actions=[RULE], validation={"every": "11s"}))
    monkeypatch.setattr(Revalidation, "seconds", property(lambda each: 0.01 if each.every == "11s" else 300.0))
    world.validations = Validations(cast("Any", world.events), world.telemetry, chance=lambda *_: 0.0)
    await world.reconcile()
    thrice, found = asyncio.Event(), world.cluster.get
    rules = 0

    async def get(ref: Any) -> dict[str, Any] | None:
        nonlocal rules
        if ref.name == "gate":
            await thrice.wait()
        elif (rules := rules + 1) == 3:
            thrice.set()
        return await found(ref)

    monkeypatch.setattr(world.cluster, "get", get)
    async with asyncio.timeout(30):
        await world.reconcile()

    assert rules >= 3
    assert "validation" not in world.status


async def test_checks_that_hang_do_not_turn_off_those_of_profiles(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_profile(world, clock, own={}, profiles={})
    Hanging(world, monkeypatch)
    monkeypatch.setattr(Revalidation, "seconds", property(lambda _: 0.05))
    monkeypatch.setattr(check_rounds, "_LEAST_FOR_OWN", 0.05)

    async with asyncio.timeout(5):
        assert await later(world, clock) is not None

    assert world.status["validation"]["action"] == "gate"
    assert world.status["validation"]["message"] == (
        "The checks of the ManagedChart did not end within 0.05 s, the longest that they may take beside those of"
        " LifecycleProfiles"
    )


async def test_a_restarted_operator_spreads_the_validations(world: World, clock: Clock) -> None:
    """500 resources must not be validated in the same second."""
    restart(world, clock)

    assert await later(world, clock) == pytest.approx(150.0)
