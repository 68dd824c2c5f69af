"""Objects that did not become ready, and the messages about them.

`listed_in` reads them from helm's error text; the operator's own wait knows them, and makes its error by `not_ready`. Both get
the same reason and message, since it makes no difference to a person who waited.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from managedchart_operator.api.resource import WAIT_ANNOTATION
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
        message, _, _ = self.message.partition("\n")
        return f"{self.reference} ({message.strip() or self.status})"

    @property
    def reference(self) -> str:
        """Kind, namespace and name, as in a sentence."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


# Kinds of Kubernetes that become ready unless something is wrong with them; all others have controllers of their own.
_BUILT_IN = frozenset(
    {
        "CustomResourceDefinition", "DaemonSet", "Deployment", "Job", "PersistentVolumeClaim", "Pod", "PodDisruptionBudget",
        "ReplicaSet", "ReplicationController", "Service", "StatefulSet",
    }
)  # fmt: skip
# The states of an object that a controller reports on; one that is missing or being deleted has another problem.
_REPORTED = ("InProgress", "Failed")
_NAMED_IN_HINT = 3


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
    return _listed(_in(text))


def exclusion_hint_in(text: str) -> str | None:
    """Return `exclusion_hint` for the objects in helm's error text."""
    return exclusion_hint(_in(text))


def exclusion_hint(objects: Iterable[Unready]) -> str | None:
    """Say how to leave custom resources out of the wait that are not ready; None where there are none.

    Only their controllers decide what ready means, and some are not ready by design.
    """
    custom = list(dict.fromkeys(each for each in objects if each.kind not in _BUILT_IN and each.status in _REPORTED))
    if not custom:
        return None
    named, others = [each.reference for each in custom[:_NAMED_IN_HINT]], len(custom) - _NAMED_IN_HINT
    who = ", ".join(named) + (f" and {others} more" if others > 0 else "")
    verb, them = ("is", "it") if len(custom) == 1 else ("are", "them")
    first = {"kind": custom[0].kind, "name": custom[0].name, "namespace": custom[0].namespace}
    entry = "{" + ", ".join(f"{key}: {value}" for key, value in first.items() if value) + "}"
    add = f"add {entry}" if len(custom) == 1 else f"add entries like {entry}"
    return (
        f"If {who} {verb} not meant to become ready, leave {them} out of the wait: {add} to spec.waitFor.exclude, or annotate "
        f'{them} in the chart with {WAIT_ANNOTATION}: "false".'
    )


def _in(text: str) -> Iterator[Unready]:
    return (Unready(**found.groupdict()) for found in _IN_TEXT.finditer(text))


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
        hint=exclusion_hint(objects) if failure.reason is Reason.TIMEOUT else None,
    )
