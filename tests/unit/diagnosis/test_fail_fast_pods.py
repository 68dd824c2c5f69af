"""Which pods end the wait for a release: immediately, after the grace, or never."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from managedchart_operator.diagnosis import fail_fast
from managedchart_operator.diagnosis.fail_fast import FailFast
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import Identity, Rendered
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.reasons import Reason
from unit.diagnosis.pod_bodies import RUNNING, TERMINATED, WAITING_CRASH, WAITING_IMAGE, WEB, pod


class FakeLineage:
    """Says of every pod that it comes from one object."""

    def __init__(self, root: Identity | None) -> None:
        self.root = root
        self.asked = 0

    async def root_of(self, _: Any) -> Identity | None:
        return self.root

    async def is_foreign(self, _: Any) -> bool:
        self.asked += 1
        return self.root is None


def watcher(
    view: NamespaceView, *, root: Identity | None, applied: bool, hooks: bool = False, left_out: bool = False
) -> FailFast:
    """Build a FailFast without a grace."""
    rendered = Rendered(frozenset({WEB}), frozenset({WEB} if hooks else ()), frozenset({WEB} if left_out else ()))

    async def known() -> Rendered:
        return rendered

    return FailFast(
        views={"apps": view},
        since=datetime.now(UTC) - timedelta(seconds=5),
        grace=0.0,
        applied=lambda: applied,
        rendered=known,
        lineage_of=lambda _: FakeLineage(root),  # type: ignore[arg-type, return-value]
    )


def view_of(body: dict[str, Any]) -> NamespaceView:
    """Build a view that shows one pod."""
    view = NamespaceView()
    view.see_pod(read_pod(body))
    return view


FATAL = [pod(WAITING_IMAGE), pod(WAITING_CRASH, restarts=3, exit_code=1), pod(TERMINATED, restarts=3)]
NOT_FATAL = [
    pod(WAITING_CRASH, restarts=2, exit_code=1),
    pod(RUNNING, restarts=3, exit_code=1, phase="Running"),
    pod(WAITING_IMAGE, deletionTimestamp="2026-01-01T00:00:00Z"),
    pod(RUNNING, phase="Running"),
    pod({"waiting": {}}, unschedulable="no node"),
]


@pytest.mark.parametrize("body", FATAL)
async def test_a_fatal_cause_ends_the_wait(body: dict[str, Any]) -> None:
    cause = await asyncio.wait_for(watcher(view_of(body), root=WEB, applied=True).wait_for_fatal_cause(), 5)
    assert cause.subject.name == "web-1"


@pytest.mark.parametrize("body", FATAL)
async def test_pods_of_what_is_left_out_do_not_end_the_wait(body: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            watcher(view_of(body), root=WEB, applied=True, left_out=True).wait_for_fatal_cause(), 0.1
        )


@pytest.mark.parametrize("body", NOT_FATAL)
async def test_pods_that_may_become_ready_are_waited_for(body: dict[str, Any]) -> None:
    """Also a container that was restarted and runs now: it may become ready this time; and a pod that is being deleted."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watcher(view_of(body), root=WEB, applied=True).wait_for_fatal_cause(), 0.1)


@pytest.mark.parametrize(("root", "applied"), [(None, True), (WEB, False)])
async def test_foreign_and_earlier_pods_never_count(root: Identity | None, applied: bool) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watcher(view_of(FATAL[0]), root=root, applied=applied).wait_for_fatal_cause(), 0.1)


async def test_foreign_pods_are_examined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of another release may crash for hours, while hundreds of releases wait."""
    monkeypatch.setattr(fail_fast, "_RECHECK_SECONDS", 0.01)
    lineage = FakeLineage(None)
    judge = watcher(view_of(FATAL[0]), root=None, applied=True)
    judge.lineage_of = lambda _: lineage  # type: ignore[assignment, return-value]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(judge.wait_for_fatal_cause(), 0.1)
    assert lineage.asked == 1


async def test_a_hooks_pod_counts_before_the_apply() -> None:
    judge = watcher(view_of(FATAL[0]), root=WEB, applied=False, hooks=True)
    assert (await asyncio.wait_for(judge.wait_for_fatal_cause(), 5)).reason is Reason.IMAGE_PULL


# ---- the grace


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of fail_fast, which rechecks immediately."""
    found = Clock()
    monkeypatch.setattr(fail_fast, "time", found)
    monkeypatch.setattr(fail_fast, "_RECHECK_SECONDS", 0.001)
    return found


async def goes_on(judge: FailFast) -> bool:
    """Whether nothing ends the wait while the clock stands still."""
    try:
        await asyncio.wait_for(judge.wait_for_fatal_cause(), 0.1)
    except TimeoutError:
        return True
    return False


async def test_a_missing_image_must_persist_for_the_grace(clock: Clock) -> None:
    """The registry may be slow for a moment."""
    judge = watcher(view_of(pod(WAITING_IMAGE)), root=WEB, applied=True)
    judge.grace = 3.0
    assert await goes_on(judge)
    clock.now += 2.9
    assert await goes_on(judge)
    clock.now += 0.1
    assert not await goes_on(judge)


async def test_an_interruption_restarts_the_grace(clock: Clock) -> None:
    """The image was pulled in between, by a second attempt."""
    view = view_of(pod(WAITING_IMAGE))
    judge = watcher(view, root=WEB, applied=True)
    judge.grace = 3.0
    assert await goes_on(judge)
    view.see_pod(read_pod(pod(RUNNING, phase="Running")))
    assert await goes_on(judge)
    clock.now += 10
    view.see_pod(read_pod(pod(WAITING_IMAGE)))
    assert await goes_on(judge)
    clock.now += 3
    assert not await goes_on(judge)


async def test_a_crash_loop_needs_no_grace(clock: Clock) -> None:
    """The restarts have taken their time already."""
    judge = watcher(view_of(pod(WAITING_CRASH, restarts=3, exit_code=1)), root=WEB, applied=True)
    judge.grace = 3600.0
    cause = await asyncio.wait_for(judge.wait_for_fatal_cause(), 5)
    assert cause.reason is Reason.CRASH_LOOP
    assert clock.now == 1000.0


async def test_trouble_from_before_the_apply_is_judged_after_it(clock: Clock) -> None:
    """Nothing changes in the namespace at that moment, so it is looked at again without being woken."""
    applied = False
    judge = watcher(view_of(pod(WAITING_IMAGE)), root=WEB, applied=False)
    judge.applied = lambda: applied
    waiting = asyncio.create_task(judge.wait_for_fatal_cause())
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    applied = True
    assert (await asyncio.wait_for(waiting, 5)).reason is Reason.IMAGE_PULL
    assert clock.now == 1000.0


async def test_a_deleted_pod_is_forgotten(clock: Clock) -> None:
    """Its grace is not kept, however many pods come and go."""
    view = view_of(pod(WAITING_IMAGE))
    judge = watcher(view, root=WEB, applied=True)
    judge.grace = 3.0
    assert await goes_on(judge)
    view.see_pod_deleted("uid-web-1")
    clock.now += 10
    assert await goes_on(judge)
    assert not judge._first_seen
