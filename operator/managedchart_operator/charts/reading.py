"""Calls the functions that read a chart in a worker process, and says what its limits mean for the chart."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from managedchart_operator.charts.metadata import invalid
from managedchart_operator.errors import ChartError, WorkerError
from managedchart_operator.reasons import Reason
from managedchart_operator.worker import run_in_worker

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# Reading kube-prometheus-stack takes 0.2 s, the most that the budget of an archive allows 3 s; a busy node takes longer.
READ_SECONDS = 30.0


async def read_chart(function: Callable[[*Arguments], Result], *args: *Arguments, origin: str) -> Result:
    """Call a function that reads a chart, and return its result. Raises what it raises, and ChartError; `origin` names it."""
    try:
        return await run_in_worker(function, *args, seconds=READ_SECONDS)
    except WorkerError as error:
        if error.why == "died":
            raise ChartError(
                f"{origin}: it cannot be read: {error.message}", reason=Reason.CHART_SOURCE_UNAVAILABLE, transient=True
            ) from error
        limit = f"within {READ_SECONDS:g} s" if error.why == "time" else "within the memory of a worker process"
        raise invalid(f"{origin}: it cannot be read {limit}") from error
