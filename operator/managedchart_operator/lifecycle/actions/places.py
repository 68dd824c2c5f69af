"""How many actions hold objects of others in memory at once.

What an action reads is bounded, but hundreds may run at the same time, and one may wait for a day. So an action takes a place
before it reads objects that it keeps, and gives it back before it writes or waits. In its place it does nothing but send
requests that read, and call a worker process: both have deadlines, and neither needs a place. It never takes a second one. So
no two actions can wait for each other.

The namespaces of the ManagedCharts are served in turn, and none holds more than half of the places (`fair_slots`).
"""

import contextlib
from collections.abc import AsyncIterator

from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.lifecycle.actions.scene import Scene

EXPRESSIONS = 16
"""How many actions may hold objects for an expression: 1 MiB each, see `expressions`."""
BACKUPS = 2
"""How many actions may hold the objects of a backup: 32 MiB each, and as much from an earlier backup, see `backups`."""

# Whatever the share of a namespace is, as for the workers: one that fills its places must leave some to the others.
_expressions = FairSlots(EXPRESSIONS, share=0.5)
_backups = FairSlots(BACKUPS, share=0.5)


@contextlib.asynccontextmanager
async def for_expression(scene: Scene) -> AsyncIterator[None]:
    """Hold a place for the objects of an expression."""
    async with _held(_expressions, scene):
        yield


@contextlib.asynccontextmanager
async def for_backup(scene: Scene) -> AsyncIterator[None]:
    """Hold a place for the objects of a backup."""
    async with _held(_backups, scene):
        yield


@contextlib.asynccontextmanager
async def _held(places: FairSlots, scene: Scene) -> AsyncIterator[None]:
    scene.progress = "it waits until other actions have read their objects"
    async with places.hold():
        scene.progress = ""
        yield
