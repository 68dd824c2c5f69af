"""Collects the evidence of a failed run from the cluster, before anything is cleaned up.

Purpose: one bounded look at the release's namespace. Boundary: what the evidence means is not decided here. Invariants: it
never raises for what it cannot get, but says so; it ends within its time.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from managedchart_operator.api.status import FailureEvent
from managedchart_operator.diagnosis.events import select
from managedchart_operator.diagnosis.objects import identities, owned_by
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.objects import Objects

# A look that takes longer is worth less than the rollback that waits for it.
COLLECT_SECONDS = 5.0
# What controllers make of a chart's objects, in the namespace of the release.
_OWNED_KINDS = (("apps/v1", "ReplicaSet"), ("batch/v1", "Job"), ("v1", "Pod"), ("v1", "PersistentVolumeClaim"))


@dataclass(frozen=True, slots=True)
class Collector:
    """Looks at a namespace for the evidence of one run."""

    objects: Objects
    events: Events

    async def collect(
        self, namespace: str, rendered: Iterable[dict[str, Any]], *, since: datetime
    ) -> tuple[list[FailureEvent], str | None]:
        """Return the events that belong to the rendered objects and their pods, and what could not be had."""
        try:
            async with asyncio.timeout(COLLECT_SECONDS):
                lists = await asyncio.gather(
                    self.events.list(namespace),
                    *(self.objects.list(*kind, namespace=namespace, metadata_only=True) for kind in _OWNED_KINDS),
                )
        except TimeoutError:
            return [], f"the events of namespace {namespace} could not be read within {COLLECT_SECONDS:.0f} s"
        except KubeError as error:
            return [], f"the events of namespace {namespace} could not be read: {error.message}"
        events, *owned = lists
        objects = owned_by(identities(rendered), (item for items in owned for item in items))
        return select(events, objects, since=since), None
