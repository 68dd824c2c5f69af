"""`helmTest` runs the tests of the chart, and shows why they fail."""

from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, LifecycleError, SpecError
from managedchart_operator.kube.answers import error_of
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.context import HelmTests
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once, run
from unit.lifecycle.fakes import FakeCluster, bench

ERROR = HelmError("helm failed", reason=Reason.HELM_FAILED, transient=True)
FAILED = HelmTests(("web-a",), ("web-b",), {("web-b", "main"): "one\nno route to host"}, ERROR)
POD = {
    "metadata": {"uid": "p1", "name": "web-b", "namespace": "apps"},
    "status": {
        "phase": "Failed",
        "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
    },
}


async def test_tests_that_succeed_are_counted() -> None:
    on = bench()
    on.extras.tests = HelmTests(("web-a", "web-b"))

    done = await once({"helmTest": {"filters": ["web-a"], "exclude": ["web-c"]}}, on=on)

    assert done.message == "2 tests succeeded"
    assert on.extras.tested == [(("web-a",), ("web-c",), 52.0)], "helm's deadline comes before that of the action"


async def test_a_filter_that_names_no_test_fails() -> None:
    """Helm succeeds, so a misspelt name would be a check that never fails."""
    on = bench()
    on.extras.tests = HelmTests(("web-a",))

    with pytest.raises(LifecycleError, match="The chart has no test web-b") as caught:
        await once({"helmTest": {"filters": ["web-a", "web-b"]}}, on=on)

    assert caught.value.hint == "Correct filters: helm -n apps get hooks web"


async def test_a_failed_test_is_named_with_its_log() -> None:
    cluster = FakeCluster({ObjectRef("v1", "Pod", "web-b", "apps"): POD}, logs={"web-b": "no route to host\n"})
    on = bench(cluster=cluster)
    on.extras.tests = FAILED

    with pytest.raises(LifecycleError) as caught:
        await run({"helmTest": {}}, on=on)

    assert caught.value.message == (
        "Action a0 (helmTest) failed: Test web-b of release apps/web failed: container main of Pod web-b ended with exit code 1"
        " (the application exited with an error); it logged: no route to host"
    )
    assert [(each.pod, each.log) for each in on.recorder.findings.containers] == [("web-b", "no route to host\n")]


def running(ref: ObjectRef, hook: str) -> FakeCluster:
    metadata = {"uid": "p1", "name": ref.name, "namespace": "apps", "annotations": {"helm.sh/hook": hook}}
    pod = {"containerStatuses": [{"name": "main", "state": {"running": {}}}], "phase": "Running"}
    body = {"metadata": metadata, "status": pod if ref.kind == "Pod" else {"active": 1}}
    return FakeCluster({ref: body}, logs={ref.name: "waiting for the port\n"})


@pytest.mark.parametrize("kind", [("v1", "Pod"), ("batch/v1", "Job")])
async def test_a_test_that_does_not_end_is_deleted(kind: tuple[str, str]) -> None:
    """helm leaves it running; its log is read before."""
    ref = ObjectRef(*kind, "web-b", "apps")
    on = bench(cluster=running(ref, "test"))
    on.extras.tests = HelmTests(failed=("web-b",), error=ERROR)

    with pytest.raises(LifecycleError) as caught:
        await once({"helmTest": {}}, on=on)

    said = ": container main of Pod web-b is running; it logged: waiting for the port" if kind == ("v1", "Pod") else ""
    assert caught.value.message == f"Test web-b of release apps/web did not end in time and is deleted{said}"
    assert caught.value.reason is Reason.PHASE_TIMEOUT
    assert on.cluster.deleted == [ref]


async def test_a_test_that_cannot_be_deleted_is_reported() -> None:
    ref = ObjectRef("v1", "Pod", "web-b", "apps")
    on = bench(cluster=running(ref, "test"))
    path = "/api/v1/namespaces/apps/pods/web-b"
    on.cluster.refuses[ref] = error_of(500, b"etcd is slow", method="DELETE", path=path)
    on.extras.tests = HelmTests(failed=("web-b",), error=ERROR)

    with pytest.raises(LifecycleError) as caught:
        await once({"helmTest": {"logs": False}}, on=on)

    assert caught.value.message == (
        "Test web-b of release apps/web failed; it may still run: The API server answers 500 for pods apps/web-b: etcd is slow"
    )
    assert caught.value.reason is Reason.API_UNAVAILABLE, (
        "an outage, in which helm cannot see how a test ends, rolls nothing back"
    )


async def test_only_tests_are_deleted() -> None:
    """A tenant could give another object the name meanwhile."""
    on = bench(cluster=running(ObjectRef("v1", "Pod", "web-b", "apps"), "post-install"))
    on.extras.tests = HelmTests(failed=("web-b",), error=ERROR)

    with pytest.raises(LifecycleError, match="Test web-b of release apps/web failed"):
        await once({"helmTest": {}}, on=on)

    assert on.cluster.deleted == []


class WithoutJobs(FakeCluster):
    """A cluster whose account may do nothing with Jobs."""

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        if ref.kind != "Job":
            return await super().get(ref)
        text = b'User "u" cannot get resource "jobs" in API group "batch" in the namespace "apps"'
        raise error_of(403, text, method="GET", path="/apis/batch/v1/namespaces/apps/jobs/web-b")


async def test_the_log_of_a_deleted_pod_is_known_from_helm() -> None:
    """Charts may have a test deleted as soon as it has failed. Whether it was a Job need not be known."""
    on = bench(cluster=WithoutJobs())
    on.extras.tests = FAILED

    with pytest.raises(LifecycleError, match=r"it logged: one \| no route to host$"):
        await run({"helmTest": {}}, on=on)

    assert on.recorder.findings.containers[0].log == "one\nno route to host"


async def test_a_failure_that_does_not_end_the_run_leaves_no_evidence() -> None:
    on = bench()
    on.extras.tests = FAILED

    await run({"helmTest": {}, "onError": "Continue"}, on=on)

    assert on.recorder.findings.containers == ()


async def test_an_error_of_helm_itself_is_shown() -> None:
    on = bench()
    on.extras.tests = HelmTests(error=ERROR)

    with pytest.raises(HelmError, match="helm failed"):
        await once({"helmTest": {}}, on=on)


async def test_only_after_exec() -> None:
    with pytest.raises(SpecError, match="helmTest cannot be in phase PreExec"):
        await once({"helmTest": {}}, on=bench(), phase=Phase.PRE_EXEC)


async def test_a_dry_run_runs_no_test() -> None:
    on = bench()

    done = await once({"helmTest": {}}, on=on, preview=True)

    assert done.message == "Would run the tests of the chart"
    assert on.extras.tested == []
