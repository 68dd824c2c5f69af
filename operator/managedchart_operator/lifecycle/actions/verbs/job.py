"""`job`: a container image runs once, as a Job in the namespace of the release.

The name of the Job follows from the action and from what the run carries out, so a run that is repeated, also after a restart
of the operator, finds the Job and waits for it. Only a failed one is deleted and made again, by the next attempt. `own_jobs`
keeps it from taking the Job of somebody else for its own. When the time of an attempt is over, the Job is deleted, so that it
does not run beside the next one; Kubernetes ends one whose operator is not there. The Job has no owner, since the garbage
collector would delete it with the ManagedChart, and with it the log of a removal. Kubernetes deletes it `ttl` after its end.
Until then it is the memory of what has run, so the default is an hour: the retries of a run come sooner, and a cluster does not
fill with old Jobs.
"""

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from managedchart_operator.api.duration import Duration, between, seconds
from managedchart_operator.api.schema import ApiModel, rules
from managedchart_operator.errors import LifecycleError
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.kube.applying import apply
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.single_writes import delete_exactly
from managedchart_operator.kube.watch import Polling, changes
from managedchart_operator.lifecycle.actions.own_jobs import existing, never_ran, started
from managedchart_operator.lifecycle.actions.pods import findings_of, reserve_of, sentence, why_not_running
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.targets import LabelValue
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.actions.writing import refusals
from managedchart_operator.reasons import Reason

VALUE_OR_SOURCE = "set exactly one of value and valueFrom"
# A label value, which the name becomes in the pods, has 63 characters; the digest takes 11 of them.
_NAME_CHARACTERS = 52
# Of the reserve; to delete the Job takes one request.
_FOR_READING = 0.75

Text = Annotated[str, StringConstraints(max_length=4096)]


class KeyRef(ApiModel):
    """A key of a Secret."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the Secret."""
    key: str = Field(min_length=1, max_length=253)
    """The key in it."""


class ValueFrom(ApiModel):
    """Where the kubelet takes a value from; the operator never reads it."""

    secret_key_ref: KeyRef
    """A key of a Secret in the namespace of the release."""


class EnvVar(ApiModel):
    """An environment variable."""

    model_config = ConfigDict(json_schema_extra=rules(("has(self.value) != has(self.valueFrom)", VALUE_OR_SOURCE)))

    name: str = Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Its name."""
    value: Text | None = None
    """Its value."""
    value_from: ValueFrom | None = None
    """Where its value comes from."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.value is None) == (self.value_from is None):
            raise ValueError(VALUE_OR_SOURCE)
        return self

    def body(self) -> dict[str, Any]:
        """Return it as a pod has it."""
        return self.model_dump(by_alias=True, exclude_none=True)


class RunJob(Verb):
    """Runs a container image once, as a Job in the namespace of the release."""

    verb: ClassVar[str] = "job"
    needs: ClassVar[tuple[str, ...]] = ("get", "list", "watch", "create", "patch", "delete")

    image: str = Field(min_length=1, max_length=512)
    """The image; it must run as a user other than root."""
    command: list[Text] = Field(default_factory=list, max_length=64)
    """The program, instead of the image's entrypoint."""
    args: list[Text] = Field(default_factory=list, max_length=64)
    """Its arguments."""
    env: list[EnvVar] = Field(default_factory=list, max_length=32)
    """Environment variables."""
    service_account_name: str | None = Field(default=None, min_length=1, max_length=253)
    """ServiceAccount of the pod; by default one without permissions, and no token."""
    labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=16)
    """Labels of the pod, such as one that keeps the sidecar of a mesh away, which would never end."""
    backoff_limit: int = Field(default=0, ge=0, le=10, strict=True)
    """How often Kubernetes makes another pod after one has failed."""
    ttl: Duration = Field(
        default="1h", json_schema_extra=between("1m", "168h", "ttl can be from 1m to 168h: write a duration like 1h")
    )
    """How long the Job stays after its end; a run that is repeated later than that runs it again."""

    def problems(self) -> Iterator[str]:
        """Yield names of variables that are given twice."""
        names = [each.name for each in self.env]
        yield from (f"env: {name} is given twice" for name in sorted({each for each in names if names.count(each) > 1}))

    async def run(self, scene: Scene) -> Done:
        """Run the Job to its end, or end it when its time is over. Raises LifecycleError, KubeError."""
        reserve = reserve_of(scene.seconds)
        until = asyncio.get_running_loop().time() + scene.seconds - reserve
        ref = self._ref(scene)
        scene.progress = f"{ref} has not ended"
        found = await existing(scene, ref)
        if found is not None and (
            found["metadata"].get("deletionTimestamp") or _condition(found, "Failed") or never_ran(scene, found)
        ):
            await _delete(scene, ref, found["metadata"]["uid"])
            found = None
        if found is not None and _condition(found, "Complete"):
            return Done(f"{ref} has run already")
        if found is None:
            with refusals(scene, ref):
                found = await started(scene, ref, self._body(scene))
        uid = found["metadata"]["uid"]
        try:
            async with asyncio.timeout_at(until) as limit:
                ended = await _until_ended(scene, ref, uid)
        except TimeoutError as error:
            if not limit.expired():
                raise
            # It may have ended: a watch whose connection has died silently shows nothing more.
            ended = await scene.cluster.get(ref) or {}
            if ended.get("metadata", {}).get("uid") != uid or not _has_ended(ended):
                raise await _ended_by_deadline(scene, ref, uid, seconds=reserve * _FOR_READING) from error
        if (failed := _condition(ended, "Failed")) is None:
            return Done(f"{ref} succeeded")
        redact = await asyncio.to_thread(scene.context.release.redactor, [])
        scene.evidence = await findings_of(scene, redact, labels=_pods_of(ref))
        said = sentence(scene.evidence.containers) or f": {redact(failed.get('message') or failed.get('reason') or '')}"
        raise LifecycleError(
            f"{ref} failed{said}",
            reason=Reason.LIFECYCLE_FAILED,
            hint=f"Read its whole log: kubectl -n {ref.namespace} logs job/{ref.name}",
        )

    async def preview(self, scene: Scene) -> Done:
        """Let the API server validate the Job, without making one."""
        ref = self._ref(scene)
        with refusals(scene, ref):
            await apply(scene.cluster, ref, self._body(scene), manager=FIELD_MANAGER, force=True, dry_run=True)
        return Done(f"Would run {ref}")

    def _ref(self, scene: Scene) -> ObjectRef:
        """Return the Job of this action for what the run carries out."""
        name = scene.kept_as(scene.action)
        parts = [scene.context.chart.uid, name, scene.phase, scene.stamp, self.model_dump_json(by_alias=True)]
        parts += [scene.account] if scene.account is not None else []
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
        return ObjectRef("batch/v1", "Job", f"{scene.action[:_NAME_CHARACTERS].rstrip('-')}-{digest}", scene.namespace)

    def _body(self, scene: Scene) -> dict[str, Any]:
        container: dict[str, Any] = {
            "name": "main",
            "image": self.image,
            "env": [each.body() for each in self.env],
            # What the Pod Security Standard "restricted" demands.
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            # The end of the log is the message of a pod that wrote none, so it is known even if the node is lost.
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        container |= {key: value for key, value in (("command", self.command), ("args", self.args)) if value}
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "automountServiceAccountToken": self.service_account_name is not None,
            "containers": [container],
        }
        if self.service_account_name:
            pod["serviceAccountName"] = self.service_account_name
        labels = {**self.labels, OWNER_LABEL: scene.context.chart.uid}
        return {
            "metadata": {"labels": labels},
            "spec": {
                # Also if the operator is ended, or the run is: nobody else would end a Job that hangs.
                "activeDeadlineSeconds": math.ceil(scene.seconds),
                "backoffLimit": self.backoff_limit,
                "ttlSecondsAfterFinished": int(seconds(self.ttl)),
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }


def _has_ended(job: Mapping[str, Any]) -> bool:
    return _condition(job, "Complete") is not None or _condition(job, "Failed") is not None


async def _delete(scene: Scene, ref: ObjectRef, uid: str) -> None:
    """Delete the Job of an earlier attempt, with its pods, and wait until it does not exist."""
    await delete_exactly(scene.cluster, ref, uid=uid)
    async for found in _states(scene, ref):
        if found is None or found["metadata"]["uid"] != uid:
            return


async def _until_ended(scene: Scene, ref: ObjectRef, uid: str) -> dict[str, Any]:
    """Wait until a Job is complete or has failed. Raises LifecycleError if somebody deletes it."""
    async for found in _states(scene, ref):
        if found is None or found["metadata"]["uid"] != uid:
            raise LifecycleError(f"{ref} was deleted before it ended")
        if _has_ended(found):
            return found
        status = found.get("status") or {}
        scene.progress = (
            f"{ref} has not ended: {status.get('active', 0)} pods are active, {status.get('ready', 0)} of them ready"
        )
    raise AssertionError  # a watch has no end


async def _ended_by_deadline(scene: Scene, ref: ObjectRef, uid: str, *, seconds: float) -> LifecycleError:
    """Delete a Job whose time is over, and return the error, with what its pods have logged. Raises KubeError."""
    said = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            redact = await asyncio.to_thread(scene.context.release.redactor, [])
            scene.evidence = await findings_of(scene, redact, labels=_pods_of(ref), running=True)
            said = sentence(scene.evidence.containers) or await why_not_running(
                scene, redact, labels=_pods_of(ref), owner=uid
            )
    await delete_exactly(scene.cluster, ref, uid=uid)
    return LifecycleError(
        f"{ref} did not end in time and is deleted{said}",
        reason=Reason.PHASE_TIMEOUT,
        hint="Remove the cause, or set a longer timeout for the action.",
    )


def _pods_of(ref: ObjectRef) -> str:
    return f"batch.kubernetes.io/job-name={ref.name}"


async def _states(scene: Scene, ref: ObjectRef) -> AsyncIterator[dict[str, Any] | None]:
    """Yield an object as it is now and after each change; None if it does not exist. Raises KubeError."""
    path = await scene.cluster.path_of(replace(ref, name=""))
    async for change in changes(
        scene.cluster.client, path, fields=f"metadata.name={ref.name}", patient=False, polls=Polling()
    ):
        if change.type == "Listed":
            yield next(iter(change.object["items"]), None)
        else:
            yield None if change.type == "DELETED" else change.object


def _condition(job: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Return a condition that is true."""
    for each in (job.get("status") or {}).get("conditions") or ():
        if each["type"] == kind and each["status"] == "True":
            found: dict[str, Any] = each
            return found
    return None
