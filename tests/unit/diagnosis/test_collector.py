"""The evidence of a failure, from all namespaces of the release."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.diagnosis.collector import Collector, Findings, Subject
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import MAX_NAMESPACES
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)


def item(kind: str, name: str, *, version: str = "apps/v1", **meta: Any) -> dict[str, Any]:
    """An object as a chart renders it."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **meta}}


def found(kind: str, namespace: str, name: str, owner: tuple[str, str, str] | None = None, **fields: Any) -> Any:
    """An object as the API server has it, made during the run."""
    meta: dict[str, Any] = {
        "uid": f"{kind}-{namespace}-{name}",
        "namespace": namespace,
        "name": name,
        "creationTimestamp": SINCE.isoformat(),
    }
    if owner:
        meta["ownerReferences"] = [
            {"apiVersion": owner[0], "kind": owner[1], "name": owner[2], "uid": f"{owner[1]}-{namespace}-{owner[2]}"}
        ]
    return {"metadata": meta, **fields}


def crashing(namespace: str, name: str, owner: tuple[str, str, str], **fields: Any) -> Any:
    """A pod that keeps ending."""
    status = {"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4, "ready": False}
    return found("Pod", namespace, name, owner, status={"phase": "Running", "containerStatuses": [status]}, **fields)


def event(namespace: str, subject: Mapping[str, str], text: str) -> dict[str, Any]:
    """A Warning about an object."""
    return {
        "metadata": {"uid": f"{namespace}-{text}"},
        "type": "Warning",
        "reason": "BackOff",
        "message": text,
        "lastTimestamp": SINCE.isoformat(),
        "involvedObject": {"uid": "any", **subject},
    }


class FakeCluster:
    """Objects and events by namespace, and logs; `forbidden` namespaces cannot be read. Plays both adapters."""

    def __init__(
        self, *there: tuple[str, dict[str, Any]], events: list[tuple[str, dict[str, Any]]] | None = None
    ) -> None:
        self.there = there
        self.written = events or []
        self.forbidden: set[str] = set()
        self.listed: set[str] = set()
        self.logs: list[str] = []

    async def namespaced(self, _: str, kind: str) -> bool:
        """Only Clusters are not."""
        return kind != "Cluster"

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Read one object."""
        uid = f"{ref.kind}-{ref.namespace}-{ref.name}"
        return next((body for _, body in self.there if body["metadata"]["uid"] == uid), None)

    async def tail(self, *, namespace: str, pod: str, **_: Any) -> str:
        """Read the end of a log."""
        self.logs.append(f"{namespace}/{pod}")
        return "the end"

    async def list(self, _: str, kind: str, *, namespace: str, **__: Any) -> Any:
        """List the objects of a kind."""
        self.listed.add(namespace)
        if namespace in self.forbidden:
            raise KubeError(f"{kind} is forbidden", reason=Reason.FORBIDDEN, transient=True, status=403)
        if kind == "Event":
            return [body for where, body in self.written if where == namespace]
        return [body for known, body in self.there if known == kind and body["metadata"]["namespace"] == namespace]

    @property
    def collector(self) -> Collector:
        """It reads this cluster."""
        return Collector(cast("Any", self), cast("Any", self))

    async def collect(
        self,
        *rendered: dict[str, Any],
        known: Cause | None = None,
        hooks: Any = (),
        exclude: Sequence[ObjectSelector] = (),
        **views: NamespaceView,
    ) -> Findings:
        """Collect the evidence of a release in the namespace `apps`."""
        subject = Subject("apps", [*hooks, *rendered], hooks, SINCE, exclude)
        return await self.collector.collect(subject, views=views, redact=lambda text: text, known=known)


DAEMON_SET = ("apps/v1", "DaemonSet", "agent")
AGENT = item("DaemonSet", "agent", namespace="system")


async def test_evidence_comes_from_the_objects_namespaces() -> None:
    """Pod, event and log of another namespace; objects of the same name in the release's namespace are left out."""
    cluster = FakeCluster(
        ("Pod", crashing("system", "agent-1", DAEMON_SET)),
        ("Pod", crashing("apps", "agent-2", DAEMON_SET)),
        events=[
            (
                "system",
                event(
                    "system",
                    {"uid": "Pod-system-agent-1", "kind": "Pod", "namespace": "system", "name": "agent-1"},
                    "ours",
                ),
            ),
            (
                "apps",
                event(
                    "apps", {"uid": "Pod-apps-agent-2", "kind": "Pod", "namespace": "apps", "name": "agent-2"}, "theirs"
                ),
            ),
        ],
    )
    findings = await cluster.collect(AGENT)
    assert findings.cause is not None
    assert (findings.cause.subject.namespace, findings.cause.subject.name) == ("system", "agent-1")
    assert [(shown.object, shown.message) for shown in findings.events] == [("Pod system/agent-1", "ours")]
    assert [container.pod for container in findings.containers] == ["system/agent-1"]
    assert set(cluster.logs) == {"system/agent-1"}
    assert findings.incomplete is None


async def test_a_kind_of_another_group_does_not_count() -> None:
    """Its pod has the release's namespace and the name of its owner."""
    owner = ("example.com/v1", "DaemonSet", "agent")
    findings = await FakeCluster(("Pod", crashing("system", "agent-1", owner))).collect(AGENT)
    assert (findings.cause, findings.containers) == (None, [])


async def test_a_forbidden_namespace_is_reported_alone() -> None:
    """The evidence in the others is collected all the same."""
    cluster = FakeCluster(("Pod", crashing("apps", "web-1", ("apps/v1", "DaemonSet", "web"))))
    cluster.forbidden = {"system"}
    findings = await cluster.collect(AGENT, item("DaemonSet", "web"))
    assert findings.cause is not None
    assert findings.cause.subject.name == "web-1"
    assert findings.incomplete is not None
    assert findings.incomplete.startswith("The evidence in namespace system could not be read: ")
    assert "apps" not in findings.incomplete


async def test_the_number_of_namespaces_is_bounded() -> None:
    """A manifest may name thousands. The result reports what was left out."""
    cluster = FakeCluster()
    findings = await cluster.collect(*(item("DaemonSet", "agent", namespace=f"n{number}") for number in range(20)))
    assert cluster.listed == {"apps", *(f"n{number}" for number in range(MAX_NAMESPACES - 1))}
    assert findings.incomplete is not None
    assert f"Only {MAX_NAMESPACES} of the 21 namespaces" in findings.incomplete


async def test_events_about_a_cluster_wide_object_are_found() -> None:
    """Kubernetes keeps them in the namespace `default`; nothing else is read there."""
    subject = {"apiVersion": "example.com/v1", "kind": "Cluster", "name": "whole"}
    daemon_set = found("DaemonSet", "apps", "agent", ("example.com/v1", "Cluster", "whole"))
    cluster = FakeCluster(
        ("DaemonSet", daemon_set),
        ("Pod", crashing("default", "stray", DAEMON_SET)),
        events=[("default", event("default", subject, "cannot be reconciled"))],
    )
    findings = await cluster.collect(item("Cluster", "whole", version="example.com/v1"))
    assert [shown.object for shown in findings.events] == ["Cluster whole"]
    assert findings.containers == []


async def test_pods_seen_by_another_namespaces_watch_count() -> None:
    """The pod is deleted, as those of hooks usually are."""
    view = NamespaceView()
    view.see_pod(read_pod(crashing("system", "agent-1", DAEMON_SET)))
    view.see_pod_deleted("Pod-system-agent-1")
    findings = await FakeCluster().collect(AGENT, system=view)
    assert findings.cause is not None
    assert findings.cause.reason is Reason.CRASH_LOOP


async def test_a_pod_that_was_gone_before_the_run_does_not_count() -> None:
    """A view stays open for a while, so it may be older than the run: its pod can have the present revision again."""
    view = NamespaceView()
    view.see_pod(read_pod(crashing("system", "agent-1", DAEMON_SET)))
    view.see_pod_deleted("Pod-system-agent-1")
    view.deleted["Pod-system-agent-1"] = SINCE - timedelta(seconds=1)
    findings = await FakeCluster().collect(AGENT, system=view)
    assert findings.cause is None
    assert findings.containers == []


async def test_a_deleted_pod_is_not_shown_with_the_log_of_the_one_that_has_its_name_now() -> None:
    """As the pods of a StatefulSet have; each log is read by name."""
    view = NamespaceView()
    gone = crashing("system", "agent-1", DAEMON_SET)
    gone["metadata"]["uid"] = "gone"
    view.see_pod(read_pod(gone))
    view.see_pod_deleted("gone")
    cluster = FakeCluster(("Pod", crashing("system", "agent-1", DAEMON_SET)))
    findings = await cluster.collect(AGENT, system=view)
    assert sorted(bool(each.log or each.previous_log) for each in findings.containers) == [False, True]


DB = ("apps/v1", "StatefulSet", "db")
BROKEN = crashing("apps", "db-0", DB)
BROKEN["metadata"]["labels"] = {"controller-revision-hash": "broken"}
TAKEN_BACK = found("StatefulSet", "apps", "db", status={"updateRevision": "good"})


async def test_a_pod_that_a_stateful_set_does_not_replace_is_the_cause() -> None:
    """With its log and its events, although it is of an earlier revision."""
    subject = {"uid": "Pod-apps-db-0", "kind": "Pod", "namespace": "apps", "name": "db-0"}
    cluster = FakeCluster(
        ("Pod", BROKEN), ("StatefulSet", TAKEN_BACK), events=[("apps", event("apps", subject, "Back-off"))]
    )
    findings = await cluster.collect(item("StatefulSet", "db"))
    assert findings.cause is not None
    assert findings.cause.reason is Reason.TIMEOUT
    assert findings.cause.message.startswith(
        "Pod apps/db-0 is of an earlier revision and not ready, so StatefulSet apps/db does not replace it: Container main"
    )
    assert [container.pod for container in findings.containers] == ["db-0"]
    assert findings.containers[0].previous_log == "the end"
    assert [shown.object for shown in findings.events] == ["Pod db-0"]
    subject = Subject("apps", [item("StatefulSet", "db")], (), SINCE)
    assert await cluster.collector.find_not_replaced(subject) == findings.cause


async def test_healthy_pods_of_a_rolling_update_are_not_blamed() -> None:
    """The new pod is slow; the old ones wait for their turn."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
    old = found("Pod", "apps", "db-0", DB, status=ready)
    old["metadata"]["labels"] = {"controller-revision-hash": "broken"}
    cluster = FakeCluster(("Pod", old), ("StatefulSet", TAKEN_BACK))
    assert (await cluster.collect(item("StatefulSet", "db"))).cause is None
    assert await cluster.collector.find_not_replaced(Subject("apps", [item("StatefulSet", "db")], (), SINCE)) is None


async def test_the_cause_that_ended_the_wait_stays_the_cause() -> None:
    """Of two pods that crash the message names the one, so the evidence must not name the other."""
    cluster = FakeCluster(
        ("Pod", crashing("apps", "agent-1", DAEMON_SET)), ("Pod", crashing("apps", "agent-2", DAEMON_SET))
    )
    agent = item("DaemonSet", "agent")
    first = (await cluster.collect(agent)).cause
    assert first is not None
    known = Cause(first.reason, "said", first.subject._replace(name="agent-2"), first.container)
    findings = await cluster.collect(agent, known=known)
    assert findings.cause is known
    assert [each.pod for each in findings.containers] == ["agent-2", "agent-1"]


async def test_a_secret_of_a_late_hook_is_recognised() -> None:
    status = {"name": "main", "state": {"waiting": {"reason": "CreateContainerConfigError"}}, "restartCount": 0}
    status["state"]["waiting"]["message"] = 'secret "password" not found'  # type: ignore[index]
    pod = found("Pod", "apps", "agent-1", DAEMON_SET, status={"phase": "Pending", "containerStatuses": [status]})
    hook = item("Secret", "password", version="v1", annotations={"helm.sh/hook": "post-install"})
    findings = await FakeCluster(("Pod", pod)).collect(item("DaemonSet", "agent"), hooks=[hook])
    assert findings.cause is not None
    assert "Set spec.wait: false" in (findings.cause.hint or "")


async def test_what_is_left_out_is_shown_but_is_no_cause() -> None:
    """By the spec or by the chart; a workload that is waited for is the cause, although its trouble is the lesser one."""
    trouble = ("Pod", crashing("system", "agent-1", DAEMON_SET))
    web = found("Pod", "apps", "web-1", ("apps/v1", "DaemonSet", "web"), status={"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"},
    ]})  # fmt: skip
    subject = {"uid": "Pod-system-agent-1", "kind": "Pod", "namespace": "system", "name": "agent-1"}
    cluster = FakeCluster(trouble, ("Pod", web), events=[("system", event("system", subject, "back-off"))])
    annotated = item("DaemonSet", "agent", namespace="system", annotations={"managedchart.dev/wait": "false"})
    for findings in (
        await cluster.collect(AGENT, item("DaemonSet", "web"), exclude=[ObjectSelector(name="agent")]),
        await cluster.collect(annotated, item("DaemonSet", "web")),
    ):
        assert findings.cause is not None
        assert findings.cause.reason is Reason.UNSCHEDULABLE
        assert [container.pod for container in findings.containers] == ["system/agent-1"]
        assert [shown.message for shown in findings.events] == ["back-off"]
    alone = await FakeCluster(trouble).collect(AGENT, exclude=[ObjectSelector(namespace="system")])
    assert alone.cause is None


async def test_a_stateful_set_that_is_left_out_is_not_blamed() -> None:
    cluster, rendered = FakeCluster(("Pod", BROKEN), ("StatefulSet", TAKEN_BACK)), [item("StatefulSet", "db")]
    exclude = [ObjectSelector(kind="StatefulSet")]
    assert (await cluster.collect(*rendered, exclude=exclude)).cause is None
    assert await cluster.collector.find_not_replaced(Subject("apps", rendered, (), SINCE, exclude)) is None
