"""Describes a container that failed, with the end of its log, for `status.lastFailure`.

`collector` chooses the containers of a release, and actions those of the pods that they start. Every text is redacted before it
is cut, since a secret may begin before what is shown.
"""

from collections.abc import Callable
from functools import partial

from managedchart_operator.api.status import FailedContainer
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.kube.logs import MAX_BYTES, RAW_BYTES, TAIL_LINES, Logs
from managedchart_operator.redaction import redact_part

_MESSAGE = 512
# A kubelet keeps the last 2 KiB of a log, or 4 KiB of what the program wrote, and less with many containers.
_MAY_BE_CUT = 1000
# A kubelet keeps so much of what a container wrote before its end.
_MAX_REDACTED = 4096


async def failed_container(
    logs: Logs | None, home: str, pod: Pod, container: Container, redact: Callable[[str], str]
) -> FailedContainer:
    """Return what is known of a container, as seen from the namespace `home`. Raises nothing except when cancelled.

    Without `logs` it has none.
    """
    log = previous = None
    if logs:
        tail = partial(logs.tail, namespace=pod.namespace, pod=pod.name, container=container.name)
        log = await tail(previous=False) if container.has_run else None
        previous = await tail(previous=True) if container.restarts else None
    return FailedContainer(
        pod=pod.identity.name_from(home),
        name=container.name,
        state=container.state,
        reason=container.reason or container.last_reason or None,
        message=_of_container(container.message, redact)[:_MESSAGE] or None,
        exit_code=container.exit_code,
        meaning=container.meaning,
        restarts=container.restarts,
        log=shown_log(log, redact) if log else None,
        previous_log=shown_log(previous, redact) if previous else None,
    )


def shown_log(log: str, redact: Callable[[str], str]) -> str:
    """Redact a log before it is cut to what a person reads; a line may have begun before it."""
    begins = len(log) < RAW_BYTES and log.count("\n") < TAIL_LINES
    return redact_part(redact, log, begins=begins, ends=True)[-MAX_BYTES:]


def _of_container(message: str, redact: Callable[[str], str]) -> str:
    whole = len(message) < _MAY_BE_CUT
    return redact_part(redact, message[:_MAX_REDACTED], begins=whole, ends=whole)
