"""The evidence of one run, and the cause that it shows.

`collector` and `fail_fast` gather the evidence, `causes` has the rules that find a cause in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from managedchart_operator.diagnosis.events import RunEvent
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pod_hints import KeptHint
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.diagnosis.references import LateHooks
from managedchart_operator.reasons import Reason


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run failed, and which object shows it."""

    reason: Reason
    message: str
    subject: Identity
    container: str | None = None
    hint: str | None = None
    """What to do; its command asks the cluster."""
    kept: KeptHint | None = None
    """The same hint, with a command that asks the status."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one run: its events, and its pods of the present revision."""

    pods: Sequence[Pod] = ()
    events: Sequence[RunEvent] = ()
    hook_pods: frozenset[str] = frozenset()
    """UIDs of the pods that belong to hooks."""
    refused: frozenset[Identity] = frozenset()
    """The controllers that could not create their last pod."""
    late_hooks: LateHooks = field(default_factory=dict)
    not_replaced: Sequence[tuple[Pod, Identity]] = ()
    """The pods of an earlier revision that their StatefulSet does not replace, since they are not ready."""

    @property
    def containers(self) -> Iterable[tuple[Pod, Container]]:
        """Each container with its pod."""
        return ((pod, container) for pod in self.pods for container in pod.containers)

    def text_of(self, pod: Pod, reason: str, *, contains: str = "") -> str | None:
        """Return the text of the first event of a pod with this reason, or None."""
        texts = (event.message for event in self.events if (event.subject, event.reason) == (pod.identity, reason))
        return next((text for text in texts if contains in text), None)
