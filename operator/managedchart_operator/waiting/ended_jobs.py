"""Whether a Job succeeded that its TTL deleted before it was read.

With `ttlSecondsAfterFinished` Kubernetes deletes a Job once it has finished, whether it succeeded or failed. Its Events outlive
it: the job controller writes one with the result, just after the condition from which the TTL counts.
Source: Kubernetes documentation, "TTL-after-finished Controller"; kube-controller-manager 1.37 (pkg/controller/job), and
batch/v1 for the reasons.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.events import essential_event, is_older
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.kube.watch import changes
from managedchart_operator.shortening import one_line
from managedchart_operator.waiting.kstatus import JOB, Readiness, State
from managedchart_operator.waiting.status_fields import mapping

# The Event is written within milliseconds of the condition. In rare cases it never arrives: Events are best effort.
_EVENT_SECONDS = 2.0
MAX_TEXT = 512
_MOST_EVENTS = 100

_FAILURES = frozenset(
    {"BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy"}
)
FINISHED = Readiness(State.CURRENT, "Job was deleted after it finished")


def expires(rendered: Mapping[str, Any]) -> bool:
    """Whether a rendered object is a Job that Kubernetes deletes once it has finished."""
    expires_after = mapping(rendered.get("spec")).get("ttlSecondsAfterFinished")
    return reference(rendered, "").group_kind == JOB and expires_after is not None


async def result_of(client: KubeClient, objects: Objects, ref: ObjectRef, *, since: datetime) -> Readiness:
    """Return the result of a Job that its TTL has deleted, by its Events since then; without such an Event it has succeeded.

    Helm has applied the Job, so it existed, and the TTL deletes only a Job that has finished. Waits a moment for the Event.
    Never raises except when cancelled.
    """
    fields = f"involvedObject.kind=Job,involvedObject.name={ref.name}"
    try:
        async with asyncio.timeout(_EVENT_SECONDS):
            path = await objects.collection_path("v1", "Event", namespace=ref.namespace)
            async for change in changes(
                client, path, fields=fields, patient=False, keep=essential_event, most=_MOST_EVENTS
            ):
                events = change.object["items"] if change.type == "Listed" else [change.object]
                if result := _result(events, since):
                    return result
    except (TimeoutError, KubeError):
        pass
    return FINISHED


def _result(events: Iterable[Mapping[str, Any]], since: datetime) -> Readiness | None:
    for event in events:
        reason = event.get("reason") or ""
        if is_older(event, since):
            continue
        if reason == "Completed":
            return FINISHED
        if reason in _FAILURES:
            return Readiness(State.FAILED, f"Job Failed. {reason}: {one_line(event.get('message') or '', MAX_TEXT)}")
    return None
