"""Words the hints that lead to more about a pod: to the pod itself, or to what the status keeps of it.

A rollback, an uninstall, a hook's delete policy or the next try delete the pod that a failure is about, mostly before anybody
reads of it. So wherever the status has the log or the events, the hint leads there, whatever comes after the failure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from managedchart_operator.api.status import FailedContainer, FailureEvent
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import Container, Pod

_EVENTS = """{range .status.lastFailure.events[*]}{.object}: {.message}{"\\n"}{end}"""


class Kept(StrEnum):
    """What the status keeps of a pod, which may be deleted by the time that somebody reads it."""

    LOG = "log"
    PREVIOUS_LOG = "previousLog"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class KeptHint:
    """What to do, without its full stop, and what the status keeps that helps with it."""

    advice: str
    what: Kept


class Hints(TypedDict):
    """A hint in its two forms, as the fields of a `Cause`."""

    hint: str
    kept: KeptHint


def see_events(advice: str, pod: Pod) -> Hints:
    """Advise something, and lead to the events of a pod."""
    return {
        "hint": f"{advice}: kubectl -n {pod.namespace} describe pod {pod.name}",
        "kept": KeptHint(f"{advice}. The status keeps the events", Kept.EVENTS),
    }


def read_log(pod: Pod, container: Container | None = None, *, previous: bool = False) -> Hints:
    """Lead to the log of a pod, or of the previous run of its container."""
    command = f"kubectl -n {pod.namespace} logs {pod.name}"
    command += (f" -c {container.name}" if container else "") + (" --previous" if previous else "")
    kept = KeptHint("Read its log, which the status keeps", Kept.PREVIOUS_LOG if previous else Kept.LOG)
    return {"hint": f"Read its log: {command}", "kept": kept}


def kept_hint(
    hint: KeptHint,
    about: Identity,
    container: str | None,
    *,
    events: Iterable[FailureEvent],
    containers: Iterable[FailedContainer],
    chart: tuple[str, str],
) -> str | None:
    """Return the hint with a command that asks the status for what it keeps of a pod; None if it keeps nothing.

    `chart` is the namespace and the name of the ManagedChart.
    """
    names = (about.name, f"{about.namespace}/{about.name}")
    if hint.what is Kept.EVENTS:
        known = any(event.object in [f"{about.kind} {name}" for name in names] for event in events)
        return _ask_status(hint, chart, _EVENTS) if known else None
    for index, each in enumerate(containers):
        if each.pod in names and container in (None, each.name):
            logs = {Kept.LOG: each.log, Kept.PREVIOUS_LOG: each.previous_log}
            which = next((what for what in (hint.what, *logs) if logs[what]), None)
            if which is not None:
                return _ask_status(hint, chart, f"{{.status.lastFailure.containers[{index}].{which}}}")
    return None


def _ask_status(hint: KeptHint, chart: tuple[str, str], path: str) -> str:
    namespace, name = chart
    return f"{hint.advice}: kubectl -n {namespace} get managedchart {name} -o jsonpath='{path}'"
