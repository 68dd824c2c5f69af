"""Writes the status of an object during a run; nothing else does.

The status is written as it changes, but a phase that takes no time costs no request: changes in quick succession go into one
patch, and changes during a patch into the next. Patches of one object never overlap, only what has changed is sent, and an
unchanged status is not written. `status_recorder` and `phase_recorder` decide what the status says.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.nesting import count
from managedchart_operator.reconcile.earlier_operators import carry_over
from managedchart_operator.reconcile.unwritable import is_too_large
from managedchart_operator.redaction import printable

logger = logging.getLogger(__name__)

# Longer than all phases before helm starts, shorter than a delay that a person notices.
GATHER_SECONDS = 0.05
# A status that cannot be written does not delay the run; at its end the write is retried a few times.
_FLUSH_TRIES = 3
# Longer with each try; if the API server is down for longer, the next attempt of the run writes the status.
_FLUSH_PAUSE_SECONDS = 0.2
# Conditions, phases, five revisions, Events and containers of a failure, digests of 64 files: some 600.
_MOST_VALUES = 5000


class StatusWriter:
    """Keeps the status of one ManagedChart and writes it. Call `touch` after each change, `close` at the end."""

    def __init__(self, chart: ManagedChart, api: ManagedCharts, *, written: Callable[[ManagedChart], None]) -> None:
        self.status = read_status(chart)
        self._chart = chart
        self._api = api
        self._on_written = written
        known = {field.alias or name for name, field in ManagedChartStatus.model_fields.items()}
        self._stored = {key: value for key, value in chart.status.items() if key in known}
        self._foreign = {key: value for key, value in chart.status.items() if key not in known}
        """Fields of a newer operator, which are left alone."""
        self._writing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._abandoned = False

    def touch(self) -> None:
        """Write the status soon, since it may have changed; not again in this pass if the API server cannot store it."""
        if self._refused():
            return
        if self._writing is None or self._writing.done():
            self._hurry.clear()
            self._writing = asyncio.create_task(self._write(), name=f"status {self._chart.key}")
            self._writing.add_done_callback(_log_failure)

    def _refused(self) -> bool:
        done = self._writing is not None and self._writing.done() and not self._writing.cancelled()
        return done and self._writing is not None and is_too_large(self._writing.exception())

    async def flush(self) -> None:
        """Return when the API server has the current status. Raises KubeError."""
        for attempt in range(_FLUSH_TRIES):
            await self.close()
            self.touch()
            await self.close()
            error = self._writing.exception() if self._writing else None
            if error is None:
                return
            if not isinstance(error, KubeError) or attempt == _FLUSH_TRIES - 1 or is_too_large(error):
                raise error
            await asyncio.sleep(_FLUSH_PAUSE_SECONDS * (attempt + 1))

    async def close(self) -> None:
        """Return when no write is in progress; a failed write has been logged. Waits even when cancelled.

        The next run starts from what this one wrote, so the answer must have arrived.
        """
        self._hurry.set()
        if self._writing is not None:
            _, cancelled = await finish_before_cancel(asyncio.wait([self._writing]))
            if cancelled:
                raise cancelled

    async def abandon(self) -> None:
        """Return when no write is in progress, and start no more: the object is about to be deleted."""
        self._abandoned = True
        await self.close()

    async def _write(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), GATHER_SECONDS)
        while not self._abandoned and (patch := difference(self._stored, wanted := self._dump())):
            answer = await self._api.patch_status(self._chart.key, self._chart.uid, patch)
            self._stored = wanted
            if answer is not None:
                self._on_written(replace(answer, status={**self._foreign, **wanted}))

    def _dump(self) -> dict[str, Any]:
        document: dict[str, Any] = _printable(self.status.model_dump(mode="json", by_alias=True, exclude_none=True))
        return document


def _printable(value: Any) -> Any:
    """Return a document without control characters: also the version of a chart may have any."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _printable(inner) for key, inner in value.items()}
    return [_printable(inner) for inner in value] if isinstance(value, list) else value


def read_status(chart: ManagedChart) -> ManagedChartStatus:
    """Return the status of a resource; an empty one if it has values that only another version of the operator knows.

    Also for one of more values than the operator writes: whoever may write a status could make each pass take a second.
    """
    if count(chart.status, limit=_MOST_VALUES) > _MOST_VALUES:
        logger.warning("the status of %s has too many values, starting with an empty one", chart.key)
        return ManagedChartStatus()
    try:
        return carry_over(ManagedChartStatus.model_validate(chart.status))
    except ValidationError as error:
        logger.warning(
            "cannot read the status of %s, starting with an empty one: %s", chart.key, error.errors()[0]["loc"]
        )
        return ManagedChartStatus()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        namespace, _, name = task.get_name().removeprefix("status ").partition("/")
        logger.warning("cannot write %s yet: %s", task.get_name(), error, extra={"namespace": namespace, "name_": name})


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch (RFC 7386) from one document to the other; empty if they are equal."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            if inner := difference(known, value):
                patch[key] = inner
        elif value != known or key not in before:
            patch[key] = value
    return patch
