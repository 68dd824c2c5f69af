"""Says in words why a run begins, for its Event, the condition Reconciling and the log.

`decide` decides that a run begins; nothing here does. What has changed in the input is found by comparing the digests of its
parts with those that the status has of the last attempt, so only names are known and shown, never a value. Where the status
does not say enough (it was lost, or an earlier operator wrote it), less is said.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from managedchart_operator.api.resource import FORCE_ANNOTATION, RETRY_ANNOTATION
from managedchart_operator.reconcile.last_run import LastRun

CHART = "chart"
"""The part of an input that is the chart itself."""
_EXACT = re.compile(r"v?\d+\.\d+\.\d+([-+]\S+)?")


@dataclass(frozen=True, slots=True)
class Input:
    """The input of the run, as far as this needs it."""

    parts: Mapping[str, str]
    """Digests of its parts by the names of their fields in the spec; empty if the input could not be read."""
    same: bool
    """Whether it is that of the last attempt."""
    chart_version: str | None = None
    """The version of the chart that the spec asks for."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What asks for a run although its input may be the same: the annotations, or that what was in its way has changed."""

    retry: bool = False
    force: bool = False
    granted: bool = False
    changed: str = ""
    """What made the last attempt fail and has changed since, like `LifecycleProfile p` or `plug-in p`."""

    @property
    def cause(self) -> str:
        """A part of a sentence; "" if nothing asks."""
        if self.retry or self.force:
            return f"requested by the annotation {FORCE_ANNOTATION if self.force else RETRY_ANNOTATION}"
        if self.changed:
            return f"{self.changed} has changed"
        return "the missing permission was granted" if self.granted else ""


def cause_of(now: Input, last: LastRun, requests: Requests, *, retry_limit: int) -> str:
    """Return why a run begins after the last attempt, as a part of a sentence; "" where the status does not say."""
    if last.attempt is None and last.digest is None and not last.failures:
        return ""  # there was no attempt
    if not now.same and (changed := _changed(now, last)):
        return f"changed since the last attempt: {changed}"
    if not last.current:
        return "the spec changed"
    if requests.cause:
        return requests.cause
    if last.interrupted and now.same:
        return (
            "the operator was stopped during the last attempt" if last.stopped else "the last attempt was interrupted"
        )
    if last.failures:
        return _retry(last, retry_limit)
    return "" if now.same else "the chart or the values changed"


def _retry(last: LastRun, limit: int) -> str:
    after = f" after {last.reason}" if last.reason else ""
    if last.failures > limit:
        return f"checking again{after}, with all retries used"
    return f"retry {last.failures} of {limit}{after}"


def _changed(now: Input, last: LastRun) -> str:
    """Name the parts that differ from the last attempt's; "" where either input could not be read."""
    before, after = last.inputs, now.parts
    if CHART not in before or CHART not in after:
        return ""
    names = [name for name in dict.fromkeys((*after, *before)) if before.get(name) != after.get(name)]
    versions = last.chart_version, now.chart_version
    exact = all(
        version and _EXACT.fullmatch(version) for version in versions
    )  # what a constraint means now is not known yet
    upgrade = f"chart ({versions[0]} to {versions[1]})" if exact and versions[0] != versions[1] else CHART
    return ", ".join(upgrade if name == CHART else name for name in names)
