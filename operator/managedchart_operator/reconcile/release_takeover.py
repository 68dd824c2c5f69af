"""Announces that a ManagedChart takes over a release that it did not make.

The upgrade that follows replaces the chart and all values of the existing release. So an Event names the revision, which helm
keeps in its history, and the values that no longer apply. `decide` decides whether to take it over.
"""

import asyncio
from itertools import islice
from typing import Any

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.lost_values import lost_values
from managedchart_operator.helm.storage import UNINSTALLED
from managedchart_operator.helm.values import Values
from managedchart_operator.kube.events import Events
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.resource_pass import ResourcePass
from managedchart_operator.shortening import cut

REASON = "ReleaseTakenOver"
# An Event has 1024 characters; eight paths fit, and a person reads no more.
MOST_NAMED = 8
MOST_CHARACTERS = 80


async def announce_takeover(work: ResourcePass, operation: Operation, events: Events) -> None:
    """Post the Event if the operation upgrades a release whose newest revision was not made for this resource.

    Call it before anything is changed, and not for a retry. The owner label counts, so the former release of a ManagedChart
    that was deleted and created again is announced too. Nothing is announced if the new values cannot be read, since no upgrade
    follows then. Raises nothing except when cancelled.
    """
    release, newest = work.release, work.release.newest
    inputs = release.sources.inputs
    if operation is not Operation.UPGRADE or newest is None or inputs is None:
        return
    if newest.owner == work.chart.uid or newest.status == UNINSTALLED:
        return
    name, details = "", ""
    try:
        stored = await release.storage.read_stored()
        if stored is not None:
            name = f" (chart {cut(f'{stored.chart_name} {stored.chart_version}', MOST_CHARACTERS)})"
            if lost := await asyncio.to_thread(_lost, stored.values, inputs.values):
                details = f". Values of that revision that no longer apply: {lost}"
    except (KubeError, HelmError) as error:
        details = f". Its values cannot be read: {error.message}"
        work.logger.warning("cannot read revision %d: %s", newest.number, error.message)
    message = (
        f"Taking over release {release.namespace}/{release.name}, revision {newest.number}{name}, which was not made by this"
        f" resource{details}"
    )
    work.logger.info("%s", message)
    await events.post(work.chart, type="Warning" if details else "Normal", reason=REASON, message=message)


def _lost(before: dict[str, Any], now: Values) -> str:
    paths = lost_values(before, now.merged())
    named = ", ".join(cut(path, MOST_CHARACTERS) for path in islice(paths, MOST_NAMED))
    more = sum(1 for _ in paths)
    return f"{named} and {more} more" if more else named
