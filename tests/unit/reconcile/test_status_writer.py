"""One writer of a status: gathered while a patch is under way, only differences, and never two at once."""

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.loop_lag import MAX_SECONDS, longest_delay
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.status import LastFailure, ManagedChartStatus, Phase, ReleaseStatus
from managedchart_operator.errors import KubeError
from managedchart_operator.reconcile import status_writer
from managedchart_operator.reconcile.status_writer import difference
from unit.reconcile.fakes import FakeApi, chart, merged, unavailable, writer_of

RELEASE = ReleaseStatus(name="web", namespace="apps", revision=1, status="deployed", chart="web")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def api() -> FakeApi:
    return FakeApi()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither between two tries nor for changes that may follow does anybody wait here."""
    monkeypatch.setattr(status_writer, "_FLUSH_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(status_writer, "GATHER_SECONDS", 0.0, raising=False)


# ---- gathered


async def test_changes_during_a_patch_share_the_next(api: FakeApi) -> None:
    """A run whose phases take no time costs two or three requests, not one for each step."""
    api.gate.clear()
    writer = writer_of(chart(), api)
    for failures, phase in enumerate([Phase.CHECK_PREREQUISITES, Phase.PRE_EXEC, Phase.EXEC, Phase.VALIDATE]):
        writer.status.phase, writer.status.failures = phase, failures
        writer.touch()
        await settle()
    assert len(api.patches) == 1
    api.gate.set()
    await writer.flush()
    assert len(api.patches) == 2
    assert (api.status["phase"], api.status["failures"]) == ("Validate", 3)


async def test_patches_of_one_object_never_overlap(api: FakeApi) -> None:
    """Also not when something is touched while a flush waits for its answer."""
    api.gate.clear()
    writer = writer_of(chart(), api)
    writer.status.failures = 1
    flushing = asyncio.create_task(writer.flush())
    for failures in range(2, 6):
        await settle()
        writer.status.failures = failures
        writer.touch()
    api.gate.set()
    await flushing
    await writer.close()
    assert api.most_under_way == 1
    assert api.status["failures"] == 5


async def test_a_flush_returns_when_the_api_server_has_it(api: FakeApi) -> None:
    api.gate.clear()
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.READY
    flushing = asyncio.create_task(writer.flush())
    await settle()
    assert not flushing.done()
    api.gate.set()
    await flushing
    assert api.status["phase"] == "Ready"


# ---- only what has changed


async def test_a_patch_has_only_the_changes(api: FakeApi) -> None:
    writer = writer_of(chart(), api)
    writer.status.phase, writer.status.release = Phase.EXEC, RELEASE
    await writer.flush()
    writer.status.release = RELEASE.model_copy(update={"revision": 2})
    await writer.flush()
    assert api.patches[-1] == {"release": {"revision": 2}}


async def test_no_control_character_is_written(api: FakeApi) -> None:
    """S29: also not in what the chart says about itself."""
    writer = writer_of(chart(), api)
    writer.status.release = RELEASE.model_copy(update={"app_version": "1\x1b[2J\u202e"})
    await writer.flush()
    assert api.status["release"]["appVersion"] == "1"


async def test_a_removed_field_is_sent_as_null(api: FakeApi) -> None:
    writer = writer_of(chart(), api)
    writer.status.release = RELEASE
    writer.status.last_failure = LastFailure(phase="Exec", reason="Timeout", message="x", time="2026-01-01T00:00:00Z")
    await writer.flush()
    writer.status.last_failure = None
    writer.status.release = RELEASE.model_copy(update={"chart": None})
    await writer.flush()
    assert api.patches[-1] == {"lastFailure": None, "release": {"chart": None}}
    assert "lastFailure" not in api.status


async def test_an_unchanged_status_costs_no_request(api: FakeApi) -> None:
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.READY
    await writer.flush()
    again = writer_of(chart(status=api.status), api)
    before = len(api.patches)
    again.touch()
    await again.flush()
    await again.close()
    assert len(api.patches) == before


async def test_fields_of_a_newer_operator_are_left_alone(api: FakeApi) -> None:
    """An operator that is rolled back must not wipe out what it does not know."""
    api.status = {"phase": "Ready", "score": 7, "details": {"a": 1}}
    writer = writer_of(chart(status=copy.deepcopy(api.status)), api)
    writer.status.phase = Phase.EXEC
    await writer.flush()
    assert {"score", "details"}.isdisjoint(api.patches[-1])
    assert api.status["score"] == 7


async def test_each_answer_is_handed_on(api: FakeApi) -> None:
    """It is the newest view of the object that there is."""
    answers: list[ManagedChart] = []
    writer = writer_of(chart(), api, answers)
    writer.status.phase = Phase.READY
    await writer.flush()
    assert [answer.status["phase"] for answer in answers] == ["Ready"]


async def test_the_stored_status_is_handed_on(api: FakeApi) -> None:
    """It answers with metadata only, so the status is put together here: what was there, and each patch."""
    api.status = {"phase": "Ready", "failures": 3, "score": 7, "release": RELEASE.model_dump(by_alias=True)}
    answers: list[ManagedChart] = []
    writer = writer_of(chart(status=copy.deepcopy(api.status)), api, answers)
    writer.status.phase = Phase.EXEC
    await writer.flush()
    assert answers[-1].status == api.status
    writer.status.release, writer.status.failures = None, 4
    await writer.flush()
    assert answers[-1].status == api.status
    assert "release" not in api.status


@pytest.mark.parametrize("status", [{"phase": "Dancing"}, {"conditions": 5}, {"failures": "many"}])
async def test_an_unreadable_status_starts_empty(api: FakeApi, status: dict[str, Any]) -> None:
    """By another version of the operator, or by hand."""
    api.status = status
    writer = writer_of(chart(status=copy.deepcopy(status)), api)
    writer.status.phase = Phase.READY
    await writer.flush()
    assert ManagedChartStatus.model_validate(api.status).phase is Phase.READY


async def test_an_abandoned_status_is_not_written(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last change before the resource is deleted; a write in progress is still waited for."""
    api.gate.clear()
    writer = writer_of(chart(), api)
    writer.status.failures = 1
    writer.touch()
    await settle()
    leaving = asyncio.create_task(writer.abandon())
    await settle()
    assert (len(api.patches), leaving.done()) == (1, False)
    api.gate.set()
    await leaving

    monkeypatch.setattr(status_writer, "GATHER_SECONDS", 60.0)
    writer = writer_of(chart(), api)
    writer.status.failures = 2
    writer.touch()
    await asyncio.wait_for(writer.abandon(), 1)
    assert len(api.patches) == 1


async def test_a_deleted_object_ends_the_writes(api: FakeApi) -> None:
    api.deleted = True
    answers: list[ManagedChart] = []
    writer = writer_of(chart(), api, answers)
    writer.status.phase = Phase.READY
    await writer.flush()
    await writer.flush()
    assert (len(api.patches), answers) == (1, [])


# ---- failures


async def test_the_next_write_repairs_a_failed_one(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    """The run continues, and no change is lost."""
    api.failures = [unavailable()]
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.EXEC
    writer.touch()
    await settle()
    assert "cannot write status apps/web yet" in caplog.text
    writer.status.failures = 1
    writer.touch()
    await writer.close()
    assert (api.status["phase"], api.status["failures"]) == ("Exec", 1)


async def test_a_flush_retries_a_transient_error(api: FakeApi) -> None:
    api.failures = [unavailable(), unavailable()]
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.READY
    await writer.flush()
    assert (api.status["phase"], len(api.patches)) == ("Ready", 3)


async def test_a_failed_flush_raises(api: FakeApi) -> None:
    api.failures = [unavailable() for _ in range(9)]
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.READY
    with pytest.raises(KubeError):
        await writer.flush()
    assert len(api.patches) == 3


async def test_closing_does_not_raise_write_errors(api: FakeApi) -> None:
    api.failures = [unavailable()]
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.EXEC
    writer.touch()
    await writer.close()
    assert api.under_way == 0


async def test_a_cancelled_close_still_waits(api: FakeApi) -> None:
    """The next run begins with what this patch leaves; until its answer is there, nobody knows what that is."""
    api.gate.clear()
    writer = writer_of(chart(), api)
    writer.status.phase = Phase.EXEC
    writer.touch()
    closing = asyncio.create_task(writer.close())
    for _ in range(2):
        await settle()
        closing.cancel()
    await settle()
    assert not closing.done()
    api.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (api.status["phase"], api.under_way) == ("Exec", 0)


async def test_a_cancelled_flush_waits_for_its_answer(api: FakeApi) -> None:
    api.gate.clear()
    answers: list[ManagedChart] = []
    writer = writer_of(chart(), api, answers)
    writer.status.phase = Phase.READY
    flushing = asyncio.create_task(writer.flush())
    await settle()
    flushing.cancel()
    await settle()
    api.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    await writer.close()
    assert api.under_way == 0
    assert [answer.status["phase"] for answer in answers] == ["Ready"]


# ---- the difference

# A status never holds null (what is not there is left out), nor true where another time stands 1.
values = st.recursive(
    st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(before=documents, after=documents)
def test_the_difference_turns_one_document_into_another(before: dict[str, Any], after: dict[str, Any]) -> None:
    """As RFC 7386 applies it, which is how the API server does."""
    patch = difference(before, after)
    assert merged(before, patch) == after
    assert (patch == {}) == (before == after)


@given(before=documents, after=documents)
def test_the_difference_has_no_equal_values(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = difference(before, after)
    assert all(before.get(name) != after.get(name) for name in patch)
    assert all(before[name] == after[name] for name in before.keys() & after.keys() - patch.keys())


@given(before=documents, after=documents)
def test_the_difference_changes_neither_document(before: dict[str, Any], after: dict[str, Any]) -> None:
    kept = copy.deepcopy((before, after))
    difference(before, after)
    assert (before, after) == kept


async def test_a_status_that_somebody_else_has_filled_is_not_read(api: FakeApi) -> None:
    """Who may write a status could make each pass hold up the event loop; the next write removes what is too much."""
    phase = {"name": "Exec", "state": "Running", "startedAt": "2026-01-01T00:00:00Z"}
    forged = {"phases": [phase] * 25_000, "observedGeneration": 1}
    api.status = copy.deepcopy(forged)
    found = chart(status=forged)

    async def write() -> None:
        writer = writer_of(found, api)
        assert writer.status == ManagedChartStatus()
        await writer.flush()

    assert await longest_delay(write) <= MAX_SECONDS
    assert api.status["phases"] == []
