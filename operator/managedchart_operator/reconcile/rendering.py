"""Ends a helm that renders a chart for too long.

`--timeout` bounds helm's waits only, and a template can loop for ever. helm stores the revision as soon as it has rendered the
chart, so a release that has no Secret of this attempt by then is not rendered. The storage is asked only when the time has
passed, which hardly ever happens.
"""

import asyncio
import logging
from collections.abc import Callable

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.storage import revisions_of
from managedchart_operator.reconcile.release_run import ReleaseRun

logger = logging.getLogger(__name__)

# How long to wait before asking again an API server that has not answered.
_ASK_AGAIN_SECONDS = 10.0


class Rendering:
    """The rendering of one upgrade. `on_waiting` is called further when helm begins to wait."""

    def __init__(self, run: ReleaseRun, on_waiting: Callable[[], None] | None = None) -> None:
        self._run = run
        self._on_waiting = on_waiting
        self._has_ended = False

    def helm_waits(self) -> None:
        """Handle that helm waits for objects: it has rendered and stored them."""
        self._has_ended = True
        if self._on_waiting:
            self._on_waiting()

    async def until_too_long(self) -> Exception:
        """Wait until the chart should be rendered, and return the error if it is not; never returns if it is."""
        limits = self._run.services.helm.limits
        await asyncio.sleep(limits.render_seconds)
        while not self._has_ended:
            try:
                self._has_ended = await self._is_stored()
            except KubeError as error:
                logger.warning(
                    "%s/%s: cannot see whether helm is rendering: %s", self._run.namespace, self._run.name, error
                )
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
                continue
            if not self._has_ended:
                return limits.not_rendered("upgrade")
        await asyncio.Event().wait()
        raise AssertionError

    async def _is_stored(self) -> bool:
        """Whether the revision of this attempt is stored. Raises KubeError."""
        found = await self._run.storage.secrets.list_metadata(namespace=self._run.namespace, release=self._run.name)
        return any(revision.is_of(self._run.attempt) for revision in revisions_of(found))
