"""`helmTest`: the tests of the chart succeed, as `helm test` runs them.

helm runs them one after the other and stops at the first that fails. What its pod logged is read from the pod, or from helm's
output if the chart has it deleted at once. helm leaves a test that is over the timeout running; it is deleted here. helm counts
the timeout for each test, the action for all of them: if that is over first, helm is ended, and the release says which test it
has begun.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.containers import shown_log
from managedchart_operator.errors import KubeError, LifecycleError
from managedchart_operator.kube.answers import is_unserved
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.single_writes import delete_exactly
from managedchart_operator.lifecycle.actions.api_errors import summary
from managedchart_operator.lifecycle.actions.pods import findings_of, from_logs, reserve_of, sentence
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.verb import Done, TenantData, Verb
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import listed

# helm waits for the end of these only.
_KINDS_OF_TESTS = (("v1", "Pod"), ("batch/v1", "Job"))
_HOOK = "helm.sh/hook"
# helm waits for its turn and starts before its own time begins: on a busy machine that takes a second.
_BEFORE_HELM = 2.0
_LEAST_SECONDS = 0.1

TestName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9][-a-z0-9.]*$")]


class HelmTest(Verb):
    """Runs the tests of the chart, as `helm test` does."""

    verb: ClassVar[str] = "helmTest"
    phases: ClassVar[Sequence[Phase]] = (Phase.POST_EXEC,)
    needs: ClassVar[tuple[str, ...]] = ("get", "list", "create", "patch", "delete")

    filters: list[TestName] = Field(default_factory=list, max_length=16)
    """Names of the tests that run, of which each must exist; by default all tests run."""
    exclude: list[TestName] = Field(default_factory=list, max_length=16)
    """Names of tests that do not run."""
    logs: bool = True
    """Whether the logs of failed tests go into status.lastFailure."""

    def tenant_data(self) -> TenantData:
        """Return what it needs of the chart."""
        return TenantData("the tenant writes the tests of the chart")

    async def run(self, scene: Scene) -> Done:
        """Run the tests. Raises LifecycleError, HelmError."""
        scene.progress = "A test of the release has not ended"
        # Helm itself says which test did not end, before the deadline of the action.
        seconds = scene.seconds - reserve_of(scene.seconds) - min(_BEFORE_HELM, scene.seconds / 4)
        tests = await scene.context.extras.test(
            only=self.filters, exclude=self.exclude, seconds=max(seconds, _LEAST_SECONDS)
        )
        if tests.error is None:
            # Helm succeeds where a filter names nothing.
            if unknown := [each for each in self.filters if each not in (*tests.passed, *self.exclude)]:
                raise LifecycleError(
                    f"The chart has no test {listed(unknown)}",
                    reason=Reason.LIFECYCLE_FAILED,
                    transient=False,
                    hint=f"Correct filters: helm -n {scene.namespace} get hooks {scene.context.release.name}",
                )
            return Done(f"{len(tests.passed)} tests succeeded" if tests.passed else "The chart has no tests to run")
        if not tests.failed:
            raise tests.error
        said = ""
        if self.logs:
            redact = await asyncio.to_thread(scene.context.release.redactor, [])
            found = await findings_of(scene, redact, names=tests.failed, running=True)
            if not found.containers:
                found = from_logs(tests.logs, partial(shown_log, redact=redact), tests.failed)
            scene.evidence, said = found, sentence(found.containers)
        unanswered = False
        try:
            ended = await _end(scene, tests.failed)
        except KubeError as error:
            ended, said = False, f"{said}; it may still run: {summary(error)}"
            unanswered = is_unserved(error)
        # It may have ended between the two.
        late = ended or tests.error.reason is Reason.PHASE_TIMEOUT
        what = f"did not end in time{' and is deleted' if ended else ''}" if late else "failed"
        reason = Reason.PHASE_TIMEOUT if late else Reason.LIFECYCLE_FAILED
        raise LifecycleError(
            f"Test {listed(tests.failed)} of release {scene.namespace}/{scene.context.release.name} {what}{said}",
            # Helm takes a test for failed that it cannot watch to its end.
            reason=Reason.API_UNAVAILABLE if unanswered else reason,
            hint=f"Run it again: helm -n {scene.namespace} test {scene.context.release.name} --logs",
        )

    async def preview(self, scene: Scene) -> Done:  # noqa: ARG002
        """Say that the tests would run; they need what is not deployed yet."""
        return Done(f"Would run {'the tests ' + listed(self.filters) if self.filters else 'the tests of the chart'}")


async def _end(scene: Scene, names: Sequence[str]) -> bool:
    """Delete the tests of these names that still run; returns whether there were any. Raises KubeError."""
    ended = False
    for name in names:
        for api_version, kind in _KINDS_OF_TESTS:
            ref = ObjectRef(api_version, kind, name, scene.namespace)
            try:
                found = await scene.cluster.get(ref)
            except KubeError as error:
                # helm has the same permissions: without this one it cannot have made a Job.
                if kind == "Job" and error.reason is Reason.FORBIDDEN:
                    continue
                raise
            if found is not None and _is_test(found):
                if _runs(found):
                    ended |= await delete_exactly(scene.cluster, ref, uid=found["metadata"]["uid"])
                break
    return ended


def _is_test(found: Mapping[str, Any]) -> bool:
    hooks = str((found["metadata"].get("annotations") or {}).get(_HOOK, "")).split(",")
    return any(each.strip() in ("test", "test-success") for each in hooks)


def _runs(found: Mapping[str, Any]) -> bool:
    status = found.get("status") or {}
    if found["metadata"].get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    conditions = status.get("conditions") or ()
    return not any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)
