"""Objects that did not become ready, and the messages about them.

`listed_in` reads them from helm's error text; the operator's own wait knows them, and makes its error by `not_ready`. Both get
the same reason and message, since it makes no difference to a person who waited.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from managedchart_operator.errors import WaitError
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT
from managedchart_operator.hints import Names
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut_middle, listed, one_line

_IN_TEXT = re.compile(
    r"resource (?P<kind>[^/\s]+)/(?P<namespace>[^/\s]*)/(?P<name>\S+) (?:not ready|still exists)\. "
    r"status: (?P<status>\w+), message: (?P<message>.*)"
)


@dataclass(frozen=True, slots=True)
class Unready:
    """An object that is not ready. `status` is one word of kstatus, `message` says what it waits for."""

    kind: str
    namespace: str
    """Empty for cluster-wide kinds."""
    name: str
    status: str
    message: str

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        message, _, _ = self.message.partition("\n")
        return f"{self.kind} {where} ({message.strip() or self.status})"


@dataclass(frozen=True, slots=True)
class WaitFailure:
    """A way in which a wait fails: its reason, and its message with a place for the `{list}` of objects."""

    reason: Reason
    sentence: str


JOB_FAILED = WaitFailure(Reason.JOB_BACKOFF_LIMIT, "A Job of the release failed: {list}")
TIMED_OUT = WaitFailure(Reason.TIMEOUT, "Not ready within the timeout: {list}")
NEVER_READY = WaitFailure(Reason.TIMEOUT, "Failed to become ready: {list}")


def listed_in(text: str) -> str:
    """Name the first few objects in helm's error text that did not become ready, and count the others; "" for none."""
    return _listed(Unready(**found.groupdict()) for found in _IN_TEXT.finditer(text))


def first_unready(text: str) -> Names | None:
    """Return the names of the first object in helm's error text that did not become ready, or None."""
    found = _IN_TEXT.search(text)
    return Names(found["kind"], found["name"], found["namespace"]) if found else None


def _listed(objects: Iterable[Unready]) -> str:
    return listed(dict.fromkeys(map(str, objects)))


def not_ready(objects: Sequence[Unready], *, timed_out: bool) -> WaitError:
    """Return the error of a wait that ended with objects that are not ready; `timed_out` says whether the time was up.

    Its `text` has helm's wording, for people who compare the two; nothing parses it.
    """
    failure = TIMED_OUT if timed_out else NEVER_READY
    if any(each.kind == "Job" and each.status == "Failed" for each in objects):  # it never becomes ready
        failure = JOB_FAILED
    lines = [
        f"resource {each.kind}/{each.namespace}/{each.name} not ready. status: {each.status}, message: {each.message}"
        for each in objects
    ]
    if timed_out:
        lines.append("context deadline exceeded")
    return WaitError(
        one_line(failure.sentence.format(list=_listed(objects)), MAX_MESSAGE),
        reason=failure.reason,
        transient=True,
        text=cut_middle("\n".join(lines).strip(), MAX_TEXT),
    )
