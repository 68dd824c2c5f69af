"""Which run a resumed one belongs to, and since when its evidence counts."""

from datetime import UTC, datetime

import pytest

from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.decide import AwaitingReadiness, Run
from managedchart_operator.reconcile.operations.resume import resume, resumed
from unit.reconcile.world import World

OURS = {"managedchart.dev/owner": "uid-web", "managedchart.dev/attempt": "1.word", "modifiedAt": "1767225600"}
STORED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("awaiting", [None, AwaitingReadiness(fail_on_timeout=True)])
@pytest.mark.parametrize("continues", [True, False])
async def test_only_a_continued_run_owns_the_revision(awaiting: AwaitingReadiness | None, *, continues: bool) -> None:
    world = World()
    world.secrets.add("deployed", OURS)
    run = await world.release_run()
    again = resumed(run, Run(Operation.RESUME, "", awaiting=awaiting, continues=continues))
    assert (again.attempt == "word") is continues
    assert (again.evidence.attempt == "word") is bool(continues or awaiting)
    assert (again.evidence.since == STORED) is bool(awaiting)


async def test_a_proven_revision_is_not_waited_for() -> None:
    world = World()
    world.secrets.add("deployed", OURS)
    assert not (await resume(await world.release_run(), None)).changed
