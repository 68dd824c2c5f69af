"""What is said of the pods that an action has started: why they failed, what those that still run log, why none runs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from managedchart_operator.api.status import FailedContainer
from managedchart_operator.diagnosis.causes import shows_trouble
from managedchart_operator.diagnosis.collector import MAX_CONTAINERS, Findings
from managedchart_operator.diagnosis.containers import failed_container
from managedchart_operator.diagnosis.events import redacted_message
from managedchart_operator.diagnosis.pods import essential_pod, read_pods
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.events import essential_event, last_seen
from managedchart_operator.kube.logs import Logs
from managedchart_operator.lifecycle.actions.api_errors import summary
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.shortening import one_line

# The end of a log mostly says why; `status.lastFailure` has 20 lines.
_LAST_LINES = 2
_LAST_CHARACTERS = 240
_LONGEST_REASON = 500
_LEAST_RESERVE, _LONGEST_RESERVE = 3.0, 10.0


def reserve_of(seconds: float) -> float:
    """Return how many seconds before the deadline of an attempt what it runs is ended: to read its log, and to delete it."""
    return min(max(seconds / 10, _LEAST_RESERVE), _LONGEST_RESERVE, seconds / 2)


async def findings_of(
    scene: Scene, redact: Callable[[str], str], *, labels: str = "", names: Sequence[str] = (), running: bool = False
) -> Findings:
    """Return the failed containers of the pods with these labels, or names. Raises nothing except when cancelled.

    With `running` those that still run, if none has failed.
    """
    try:
        bodies = await scene.cluster.list("v1", "Pod", namespace=scene.namespace, labels=labels, keep=essential_pod)
    except KubeError as error:
        return Findings(incomplete=redact(f"The pods of the action could not be read: {summary(error)}"))
    bodies = [each for each in bodies if not names or each["metadata"]["name"] in names]
    pods = sorted(read_pods(bodies), key=lambda pod: pod.created, reverse=True)
    logs = Logs(scene.cluster.client)
    failed = [(pod, container) for pod in pods for container in pod.containers if shows_trouble(container)]
    if not failed and running:
        failed = [(pod, container) for pod in pods for container in pod.containers if container.state == "running"]
    reading = (
        failed_container(logs, scene.namespace, pod, container, redact) for pod, container in failed[:MAX_CONTAINERS]
    )
    return Findings(containers=await asyncio.gather(*reading))


async def why_not_running(scene: Scene, redact: Callable[[str], str], *, labels: str, owner: str) -> str:
    """Return why there is no pod with these labels, or why none was scheduled, to follow the sentence about their owner.

    `owner` is the UID of what creates them, whose last Warning Event says it. "" if it is not known. Raises nothing except when
    cancelled.
    """
    try:
        listed = await scene.cluster.list("v1", "Pod", namespace=scene.namespace, labels=labels, keep=essential_pod)
        for pod in read_pods(listed):
            if pod.unschedulable:
                why = redacted_message(pod.unschedulable, redact)
                return f": Pod {pod.name} cannot be scheduled: {one_line(why, _LONGEST_REASON)}"
        if listed:
            return ""
        fields = f"involvedObject.uid={owner},type=Warning"
        events = await scene.cluster.list("v1", "Event", namespace=scene.namespace, fields=fields, keep=essential_event)
    except KubeError:
        return ""
    latest = max(events, key=lambda event: last_seen(event) or datetime.min.replace(tzinfo=UTC), default={})
    message = redacted_message(str(latest.get("message") or ""), redact)
    return f": {one_line(message, _LONGEST_REASON)}" if message else ""


def sentence(containers: Sequence[FailedContainer]) -> str:
    """Return what the first failed container says, to follow the sentence about its pod; "" if there is none."""
    if not containers:
        return ""
    first = containers[0]
    what = f"container {first.name} of Pod {first.pod}"
    if first.exit_code is not None:
        what += f" ended with exit code {first.exit_code}" + (f" ({first.meaning})" if first.meaning else "")
    elif first.reason or first.state == "running":
        what += f" is {first.state}" + (f": {first.reason}" if first.reason else "")
    lines = (first.log or first.previous_log or "").strip().splitlines()[-_LAST_LINES:]
    said = one_line(" | ".join(lines), _LAST_CHARACTERS)
    return f": {what}" + (f"; it logged: {said}" if said else "")


def from_logs(logs: Mapping[tuple[str, str], str], shown: Callable[[str], str], pods: Sequence[Any]) -> Findings:
    """Return the same for pods that are deleted already, from the logs that were printed before."""
    found = [
        FailedContainer(pod=pod, name=container, state="terminated", log=shown(text) or None)
        for (pod, container), text in logs.items()
        if pod in pods
    ]
    return Findings(containers=found[:MAX_CONTAINERS])
