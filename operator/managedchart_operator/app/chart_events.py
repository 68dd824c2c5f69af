"""Decides what a change of a ManagedChart means: nothing, a reconcile, or a reconcile that interrupts the running one.

kopf reports every change of an object (`kopf_source`), most of which are this operator's own writes of the status and the
finalizer. `meaning_of` compares two views and is pure; `ChartEvents` keeps the store up to date and asks the scheduler.
"""

from collections.abc import Callable
from enum import Enum

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store


class Meaning(Enum):
    """What a change asks for."""

    NOTHING = "nothing"
    RECONCILE = "reconcile"
    INTERRUPT = "interrupt"
    """Reconcile, and end the current run, whose input is out of date."""


def meaning_of(known: ManagedChart | None, seen: ManagedChart) -> Meaning:
    """Compare an object with the view of it that was known before."""
    if known is None:
        return Meaning.RECONCILE
    if (known.uid, known.generation, known.deleting) != (seen.uid, seen.generation, seen.deleting):
        return Meaning.INTERRUPT
    return Meaning.RECONCILE if known.requests != seen.requests else Meaning.NOTHING


class ChartEvents:
    """Handles what kopf reports. `forget` drops the metrics of a deleted object."""

    def __init__(self, store: Store, scheduler: Scheduler, *, forget: Callable[[Key], None]) -> None:
        self._store = store
        self._scheduler = scheduler
        self._forget = forget

    def seen(self, chart: ManagedChart) -> None:
        """Handle a ManagedChart that was listed, created or changed."""
        known = self._store.get(chart.key)
        self._store.put(chart)
        meaning = meaning_of(known, chart)
        if meaning is not Meaning.NOTHING:
            self._scheduler.request(chart.key, interrupt=meaning is Meaning.INTERRUPT)

    def deleted(self, chart: ManagedChart) -> None:
        """Remove a deleted ManagedChart, and reconcile the others that claim its release."""
        self._forget(chart.key)
        for key in self._store.remove(chart.key, uid=chart.uid):
            self._scheduler.request(key)
