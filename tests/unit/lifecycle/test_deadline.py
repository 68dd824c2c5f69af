"""The deadline of a phase."""

import asyncio

import pytest

from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.silence import note
from managedchart_operator.lifecycle.deadline import Deadline
from managedchart_operator.reasons import Reason


@pytest.mark.parametrize("answered", [True, False])
async def test_a_phase_that_the_api_server_does_not_answer_says_nothing(*, answered: bool) -> None:
    """Otherwise an outage during a check of a plug-in would roll the release back."""

    async def phase() -> None:
        async with Deadline(0.01, what="Phase Validate of the lifecycle mine"):
            note(answered=answered, sent=0.0)
            await asyncio.Event().wait()

    with pytest.raises(LifecycleError) as ended:
        await phase()

    said = "" if answered else ", and the API server does not answer"
    assert (
        ended.value.message == f"Phase Validate of the lifecycle mine did not end within 0.01 s of its own time{said}"
    )
    assert ended.value.reason is (Reason.PHASE_TIMEOUT if answered else Reason.API_UNAVAILABLE)
    assert ended.value.transient
