"""Selects the Kubernetes events of a release during one run, merged and ordered for a person.

Pure. Events from before the run never count; an object is matched by its UID where that is known; the same text about the same
object appears once, with its count; warnings come first, and the latest first within each type.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from managedchart_operator.api.status import FailureEvent
from managedchart_operator.diagnosis.objects import Identity, subject_of, subject_uid
from managedchart_operator.kube.events import is_older, last_seen
from managedchart_operator.redaction import redact_part
from managedchart_operator.shortening import one_line
from managedchart_operator.times import write_time

# As many as fit on a screen and, with texts of this length, into 16 KiB of status.
MAX_EVENTS = 20
MAX_TEXT = 512
# A kubelet cuts what a probe returned off at 1024 characters, and marks that with three dots.
_MAY_BE_CUT = 1000
# Whoever may write Events may write a megabyte.
_MAX_REDACTED = 4096


@dataclass(slots=True)
class RunEvent:
    """An event of a run, with its repetitions merged."""

    subject: Identity
    type: str
    reason: str
    message: str
    count: int
    last_seen: datetime

    def shown_from(self, home: str) -> FailureEvent:
        """Return it for the status; the subject has its namespace if that is not `home`."""
        return FailureEvent(
            type=self.type,
            reason=self.reason,
            object=self.subject.shown_from(home),
            message=self.message,
            count=self.count,
            last_seen=write_time(self.last_seen),
        )


def select(
    events: Iterable[Mapping[str, Any]],
    *,
    since: datetime,
    rendered: Collection[Identity] = (),
    owned: Collection[str] = (),
    redact: Callable[[str], str] = str,
) -> list[RunEvent]:
    """Return the events from `since` on about `rendered` objects, and about those that they own, by UID.

    Their texts are redacted before they are shortened.
    """
    merged: dict[tuple[Identity, str, str], RunEvent] = {}
    for event in events:
        seen, subject = last_seen(event), subject_of(event)
        if seen is None or is_older(event, since) or not (subject_uid(event) in owned or subject in rendered):
            continue
        count = int((event.get("series") or {}).get("count") or event.get("count") or 1)
        item = RunEvent(
            subject=subject,
            type=event.get("type") or "Normal",
            reason=event.get("reason") or "Unknown",
            message=one_line(redacted_message(event.get("message") or "", redact), MAX_TEXT),
            count=max(count, 1),
            last_seen=seen,
        )
        key = (item.subject, item.reason, item.message)
        if known := merged.get(key):
            item.count += known.count
            item.last_seen = max(item.last_seen, known.last_seen)
        merged[key] = item
    ordered = sorted(merged.values(), key=lambda item: (item.type == "Warning", item.last_seen), reverse=True)
    return ordered[:MAX_EVENTS]


def redacted_message(message: str, redact: Callable[[str], str]) -> str:
    """Return the begin of an Event's message without secrets; of a long one the rest is left out before it is searched."""
    whole = len(message) < _MAY_BE_CUT
    part = message if whole else message[:_MAX_REDACTED].removesuffix("...")
    return redact_part(redact, part, begins=True, ends=whole)
