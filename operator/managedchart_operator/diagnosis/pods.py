"""Reads from a pod's status what the diagnosis needs, in a compact form.

Pure; `causes` decides what it means for a release. Source: Kubernetes API reference, PodStatus and ContainerStatus.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.diagnosis.objects import Identity, Owner, owners_of
from managedchart_operator.errors import UNREADABLE
from managedchart_operator.waiting.kstatus import JOB

logger = logging.getLogger(__name__)

REVISION_LABEL = "controller-revision-hash"
_METADATA = ("uid", "namespace", "name", "resourceVersion", "creationTimestamp", "deletionTimestamp")
_STATUS = ("phase", "conditions", "initContainerStatuses", "containerStatuses")
# Controllers set one.
_MOST_OWNERS = 16
_IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
}
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError"}
# Conventions of bash and Docker: 128 + number of the signal; 126 and 127 when the command could not be run.
_EXIT_CODES = {
    0: "the program ended successfully although it should keep running",
    1: "the application exited with an error",
    2: "the application was called with wrong arguments, or exited with an error",
    126: "the command exists but cannot be executed (permissions, or not a program)",
    127: "the command was not found in the image",
    130: "the program was interrupted (SIGINT)",
    134: "the program aborted itself (SIGABRT)",
    137: "the program was killed (SIGKILL): out of memory, or it did not stop in time",
    139: "the program crashed on a memory access (SIGSEGV)",
    143: "the program was asked to stop (SIGTERM)",
}


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod. `state` is waiting, running or terminated."""

    name: str
    init: bool
    state: str
    ready: bool
    restarts: int
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    """Of its present or last termination."""
    last_reason: str = ""
    """Why it terminated the last time."""

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel killed it because it ran out of memory."""
        return "OOMKilled" in (self.reason, self.last_reason)

    @property
    def meaning(self) -> str | None:
        """What its exit code means, as part of a sentence."""
        if self.exit_code is None:
            return None
        if self.out_of_memory:
            return "the program was killed because it used more memory than its limit allows"
        if self.exit_code > 128:
            return _EXIT_CODES.get(self.exit_code, f"the program was ended by signal {self.exit_code - 128}")
        return _EXIT_CODES.get(self.exit_code, _EXIT_CODES[1])

    @property
    def image_unavailable(self) -> bool:
        """Whether its image cannot be pulled."""
        return self.state == "waiting" and self.reason in _IMAGE_REASONS

    @property
    def has_run(self) -> bool:
        """Whether it was ever started; a container that waits for its image or its configuration has no log."""
        return self.state != "waiting" or self.restarts > 0 or self.exit_code is not None

    @property
    def misconfigured(self) -> bool:
        """Whether it cannot be started because of the configuration that it refers to."""
        return self.state == "waiting" and self.reason in _CONFIG_REASONS

    @property
    def crashing(self) -> bool:
        """Whether it keeps ending with an error; it may be running at this moment."""
        if self.state == "waiting":
            return self.reason == "CrashLoopBackOff"
        return self.exit_code not in (None, 0) and (self.state == "terminated" or self.restarts > 0) and not self.ready


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod."""

    uid: str
    namespace: str
    name: str
    phase: str
    owners: tuple[Owner, ...]
    revision: str | None
    """The revision of the StatefulSet, or DaemonSet, that it is of."""
    created: str
    deleting: bool
    ready: bool
    unschedulable: str | None
    """The scheduler's message, if no node fits."""
    containers: tuple[Container, ...]

    @property
    def identity(self) -> Identity:
        """Which object it is."""
        return Identity("", "Pod", self.namespace, self.name)

    @property
    def of_job(self) -> bool:
        """Whether a Job created it. Such a pod ends when its work is done."""
        return any(owner.identity.group_kind == JOB for owner in self.owners)

    @property
    def ended(self) -> bool:
        """Whether all of its containers have ended and will not restart."""
        return self.phase in ("Succeeded", "Failed")


def essential_pod(body: dict[str, Any]) -> dict[str, Any]:
    """Return what `read_pod` reads of a pod. Its spec may have ten thousands of entries, in each of hundreds of pods."""
    meta, status = body.get("metadata") or {}, body.get("status") or {}
    labels, owners = meta.get("labels") or {}, meta.get("ownerReferences") or ()
    return {
        "metadata": {
            **{name: meta[name] for name in _METADATA if name in meta},
            "labels": {REVISION_LABEL: labels[REVISION_LABEL]} if REVISION_LABEL in labels else {},
            "ownerReferences": list(owners[:_MOST_OWNERS]),
        },
        "status": {name: status[name] for name in _STATUS if name in status},
    }


def read_pods(bodies: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """Read pods; one that cannot be read is left out and logged."""
    found: list[Pod] = []
    for body in bodies:
        try:
            found.append(read_pod(body))
        except (*UNREADABLE, StopIteration) as error:
            meta = body.get("metadata") or {}
            name = f"{meta.get('namespace')}/{meta.get('name')}"
            logger.warning("Pod %s cannot be read: %s: %s", name, type(error).__name__, error)
    return found


def read_pod(body: Mapping[str, Any]) -> Pod:
    """Read a pod."""
    meta, status = body["metadata"], body.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    return Pod(
        uid=meta["uid"],
        namespace=meta.get("namespace") or "",
        name=meta["name"],
        phase=status.get("phase") or "Pending",
        owners=owners_of(meta),
        revision=(meta.get("labels") or {}).get(REVISION_LABEL),
        created=meta.get("creationTimestamp") or "",
        deleting=meta.get("deletionTimestamp") is not None,
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        unschedulable=scheduled.get("message") if scheduled.get("reason") == "Unschedulable" else None,
        containers=(
            *_containers(status.get("initContainerStatuses") or (), init=True),
            *_containers(status.get("containerStatuses") or (), init=False),
        ),
    )


def _containers(statuses: Iterable[Mapping[str, Any]], *, init: bool) -> list[Container]:
    found = []
    for status in statuses:
        state = status.get("state") or {"waiting": {}}
        kind, detail = next(iter(state.items()))
        last = (status.get("lastState") or {}).get("terminated") or {}
        ended = detail if kind == "terminated" else last
        found.append(
            Container(
                name=status["name"],
                init=init,
                state=kind,
                ready=bool(status.get("ready")),
                restarts=int(status.get("restartCount") or 0),
                reason=detail.get("reason") or "",
                message=detail.get("message") or "",
                exit_code=ended.get("exitCode"),
                last_reason=last.get("reason") or "",
            )
        )
    return found
