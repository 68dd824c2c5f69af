"""Workloads run, end and fail as on real nodes: the same statuses, events and logs, only sooner."""

import json
from typing import Any

import pytest

from devcluster.driver import Cluster, eventually

PREFIX = "devcluster.managedchart.dev"

FAILURES: dict[str, dict[str, str]] = {
    "image": {},
    "config": {},
    "crash": {"exit-code": "3"},
    "oom": {},
    "unready": {},
    "job-fail": {"exit-code": "42"},
    "never": {},
    "slow": {"delay-seconds": "3"},
}


def pod(name: str, *, annotations: dict[str, str] | None = None, **spec: object) -> dict[str, Any]:
    containers = [{"name": "app", "image": "example.com/app:9"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {f"{PREFIX}/{key}": text for key, text in (annotations or {}).items()},
        },
        "spec": {"containers": containers, **spec},
    }


def app_status(cluster: Cluster, name: str, container: str = "app") -> dict[str, Any]:
    """The status of a pod's container; empty as long as there is none."""
    statuses = cluster.get("pod", name)["status"].get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == container), {})


def events(cluster: Cluster, uid: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = cluster.get("events", f"--field-selector=involvedObject.uid={uid}")["items"]
    return {(event["reason"], event["message"]): event for event in found}


def event(cluster: Cluster, name: str, reason: str, text: str) -> dict[str, Any]:
    """The kubelet's event with this reason and text about a pod's container `app`, as soon as there is one."""
    uid = cluster.get("pod", name)["metadata"]["uid"]
    found = eventually(lambda: events(cluster, uid), lambda seen: (reason, text) in seen)[reason, text]
    assert found["involvedObject"]["uid"] == uid
    assert found["involvedObject"]["fieldPath"] == "spec.containers{app}"
    assert found["source"] == {"component": "kubelet", "host": "shared-control-plane"}
    assert found["firstTimestamp"] <= found["lastTimestamp"]
    return found


def ready(cluster: Cluster, name: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = cluster.get("pod", name)["status"]["conditions"]
    return next(condition for condition in conditions if condition["type"] == "Ready")


@pytest.fixture(scope="module")
def failing(cluster: Cluster) -> Cluster:
    """The shared cluster with one pod for each failure, named after it."""
    pods = [pod(mode, annotations={"fail": mode, **more}) for mode, more in FAILURES.items()]
    cluster.kubectl("create", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": pods})
    return cluster


# --- pods that behave ------------------------------------------------------------------------------------------------


def test_a_deployment_becomes_available(cluster: Cluster) -> None:
    cluster.kubectl("create", "deployment", "web", "--image=example.com/web:1", "--replicas=3")
    cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    pods = cluster.get("pods", "--selector=app=web")["items"]
    assert len({found["status"]["podIP"] for found in pods}) == 3
    for found in pods:
        (status,) = found["status"]["containerStatuses"]
        assert status["containerID"].startswith("containerd://")
        assert (status["image"], status["ready"], status["started"]) == ("example.com/web:1", True, True)


def test_a_deleted_deployment_takes_its_pods_with_it(cluster: Cluster) -> None:
    cluster.kubectl("create", "deployment", "gone", "--image=app:1")
    cluster.kubectl("wait", "--for=condition=Available", "deployment/gone", "--timeout=20s")
    cluster.kubectl("delete", "deployment", "gone", "--cascade=foreground", "--timeout=20s")
    assert cluster.get("pods", "--selector=app=gone")["items"] == []


def test_a_job_completes(cluster: Cluster) -> None:
    cluster.kubectl("create", "job", "work", "--image=app:1", "--", "true")
    cluster.kubectl("wait", "--for=condition=Complete", "job/work", "--timeout=20s")
    (worker,) = cluster.get("pods", "--selector=job-name=work")["items"]
    assert worker["status"]["phase"] == "Succeeded"
    assert worker["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_a_pod_runs_as_long_as_it_says(cluster: Cluster) -> None:
    body = pod("long", annotations={"run-seconds": "600"}, restartPolicy="Never")
    cluster.kubectl("create", "-f", "-", body=body)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/long", "--timeout=20s")
    brief = pod("brief", restartPolicy="Never")
    cluster.kubectl("create", "-f", "-", body=brief)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/brief", "--timeout=20s")
    assert cluster.get("pod", "long")["status"]["phase"] == "Running"


def test_init_containers_end_and_sidecars_stay(cluster: Cluster) -> None:
    prepare = [{"name": "init", "image": "a:1"}, {"name": "sidecar", "image": "b:1", "restartPolicy": "Always"}]
    cluster.kubectl("create", "-f", "-", body=pod("prepared", initContainers=prepare))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/prepared", "--timeout=20s")
    init, sidecar = cluster.get("pod", "prepared")["status"]["initContainerStatuses"]
    assert init["state"]["terminated"]["reason"] == "Completed"
    assert "running" in sidecar["state"]


def test_a_stateful_set_gets_its_volumes(cluster: Cluster) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "db:1"}]},
            },
            "volumeClaimTemplates": [claim],
        },
    }
    cluster.kubectl("create", "-f", "-", body=body)
    cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=20s")
    assert cluster.get("pvc", "data-db-1")["status"]["phase"] == "Bound"
    cluster.kubectl("delete", "statefulset/db", "--cascade=foreground", "--timeout=20s")
    cluster.kubectl("delete", "pvc", "data-db-0", "data-db-1", "--timeout=20s")
    eventually(lambda: cluster.get("pv")["items"], lambda volumes: not volumes)


def test_a_deleted_namespace_is_emptied_and_gone(cluster: Cluster) -> None:
    """It takes 5 s at least: that long Kubernetes itself waits before it begins; and half a grace period, if it meets pods."""
    cluster.kubectl("create", "namespace", "short")
    cluster.kubectl("--namespace=short", "create", "-f", "-", body=pod("left", terminationGracePeriodSeconds=1))
    cluster.kubectl("delete", "namespace", "short", "--timeout=30s")


def test_logs_and_the_logs_before_the_restart_can_be_read(cluster: Cluster) -> None:
    cluster.kubectl("create", "-f", "-", body=pod("talker"))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=20s")
    assert "listening on :8080" in cluster.kubectl("logs", "talker")
    previous = cluster.kubectl("logs", "talker", "--previous")
    assert "connection refused" in previous
    assert previous.splitlines()[-1].startswith("FATAL")


# --- pods that do not ------------------------------------------------------------------------------------------------


def test_image_cannot_be_pulled(failing: Cluster) -> None:
    failing.kubectl(
        "wait", "pod/image", "--timeout=20s",
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff",
    )  # fmt: skip
    image = "example.com/app:9"
    error = (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": '
        f'failed to resolve reference "{image}": {image}: not found'
    )
    waiting = app_status(failing, "image")["state"]["waiting"]
    assert waiting["message"] == f'Back-off pulling image "{image}": ErrImagePull: {error}'
    assert failing.get("pod", "image")["status"]["phase"] == "Pending"
    event(failing, "image", "Pulling", f'Pulling image "{image}"')
    assert event(failing, "image", "Failed", f'Failed to pull image "{image}": {error}')["type"] == "Warning"
    assert event(failing, "image", "Failed", "Error: ErrImagePull")["type"] == "Warning"
    assert event(failing, "image", "Failed", "Error: ImagePullBackOff")["type"] == "Warning"
    assert event(failing, "image", "BackOff", f'Back-off pulling image "{image}"')["type"] == "Normal"


def test_a_config_map_that_is_not_there(failing: Cluster) -> None:
    failing.kubectl(
        "wait", "pod/config", "--timeout=20s",
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError",
    )  # fmt: skip
    text = 'configmap "settings" not found'
    status = failing.get("pod", "config")["status"]
    assert status["phase"] == "Pending"
    assert status["podIP"], "the sandbox is there"
    assert app_status(failing, "config")["state"]["waiting"]["message"] == text
    assert app_status(failing, "config")["imageID"] == ""
    assert ready(failing, "config")["status"] == "False"
    assert event(failing, "config", "Failed", f"Error: {text}")["type"] == "Warning"


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({"envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]}, 'configmap "a" not found'),
        ({"envFrom": [{"secretRef": {"name": "b"}}]}, 'secret "b" not found'),
        (
            {"env": [{"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]},
            'configmap "c" not found',
        ),
        (
            {
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "D", "valueFrom": {"secretKeyRef": {"name": "d", "key": "k"}}},
                ]
            },
            'secret "d" not found',
        ),
    ],
)
def test_what_a_containers_environment_lacks_is_named(
    cluster: Cluster, environment: dict[str, Any], missing: str
) -> None:
    """As a kubelet does: envFrom is looked at before env, and the first that is not there is told."""
    name = "lacks-" + missing.split('"')[1]
    containers = [{"name": "app", "image": "a:1", **environment}]
    cluster.kubectl("create", "-f", "-", body=pod(name, annotations={"fail": "config"}, containers=containers))
    status = eventually(lambda: app_status(cluster, name), bool)
    assert status["state"]["waiting"]["message"] == missing


@pytest.mark.parametrize(("mode", "code", "reason"), [("crash", 3, "Error"), ("oom", 137, "OOMKilled")])
def test_crash_loop(failing: Cluster, mode: str, code: int, reason: str) -> None:
    status = eventually(
        lambda: app_status(failing, mode), lambda seen: seen.get("restartCount", 0) >= 2 and "waiting" in seen["state"]
    )
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=app pod=")
    terminated = status["lastState"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (code, reason)
    assert ready(failing, mode)["status"] == "False"
    uid = failing.get("pod", mode)["metadata"]["uid"]
    text = f"Back-off restarting failed container app in pod {mode}_default({uid})"
    warning = event(failing, mode, "BackOff", text)
    assert warning["type"] == "Warning"
    assert warning["count"] >= 2
    event(failing, mode, "Started", "Started container app")


def test_restarts_are_counted_one_by_one(cluster: Cluster) -> None:
    cluster.kubectl("create", "-f", "-", body=pod("counting", annotations={"fail": "crash"}))
    column = "{.status.containerStatuses[0].restartCount}{'\\n'}"
    counts = [0]
    with cluster.watch("pod", "counting", f"--output=jsonpath={column}") as lines:
        for line in lines:
            if line.strip() and int(line) != counts[-1]:
                counts.append(int(line))
            if counts[-1] == 3:
                break
    assert counts == [0, 1, 2, 3]


def test_never_ready(failing: Cluster) -> None:
    text = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    assert event(failing, "unready", "Unhealthy", text)["type"] == "Warning"
    assert failing.get("pod", "unready")["status"]["phase"] == "Running"
    assert "running" in app_status(failing, "unready")["state"]
    assert ready(failing, "unready")["status"] == "False"
    assert ready(failing, "unready")["message"] == "containers with unready status: [app]"


def test_failed_pod(failing: Cluster) -> None:
    failing.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/job-fail", "--timeout=20s")
    terminated = app_status(failing, "job-fail")["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (42, "Error")


def test_nothing_happens_and_nothing_is_said(failing: Cluster) -> None:
    status = eventually(lambda: app_status(failing, "never"), bool)
    assert status["state"] == {"waiting": {"reason": "ContainerCreating"}}
    uid = failing.get("pod", "never")["metadata"]["uid"]
    assert {reason for reason, _ in events(failing, uid)} == {"Scheduled"}


def test_slow_is_ready_after_its_delay(failing: Cluster) -> None:
    failing.kubectl("wait", "--for=condition=Ready", "pod/slow", "--timeout=20s")
    status = failing.get("pod", "slow")["status"]
    times = {condition["type"]: condition["lastTransitionTime"] for condition in status["conditions"]}
    assert times["Ready"] > times["Initialized"]
    assert app_status(failing, "slow")["ready"] is True


def test_a_jobs_failures_are_counted(cluster: Cluster) -> None:
    template = {
        "metadata": {"annotations": {f"{PREFIX}/fail": "job-fail"}},
        "spec": pod("x", restartPolicy="Never")["spec"],
    }
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "bad"},
        "spec": {"backoffLimit": 0, "template": template},
    }
    cluster.kubectl("create", "-f", "-", body=body)
    cluster.kubectl("wait", "--for=condition=Failed", "job/bad", "--timeout=20s")
    conditions = cluster.get("job", "bad")["status"]["conditions"]
    assert "BackoffLimitExceeded" in {condition.get("reason") for condition in conditions}


def test_only_the_named_container_fails(cluster: Cluster) -> None:
    two = [{"name": "app", "image": "a:1"}, {"name": "helper", "image": "b:1"}]
    body = pod("pair", annotations={"fail": "crash", "container": "helper"}, containers=two)
    cluster.kubectl("create", "-f", "-", body=body)
    helper = eventually(lambda: app_status(cluster, "pair", "helper"), lambda seen: seen.get("restartCount", 0) >= 1)
    assert helper["ready"] is False
    app = app_status(cluster, "pair")
    assert (app["ready"], app["restartCount"], "running" in app["state"]) == (True, 0, True)


def test_a_label_chooses_a_failure_too(cluster: Cluster) -> None:
    """`kubectl run --labels` is at hand where an annotation is not."""
    cluster.kubectl("run", "labelled", "--image=app:1", f"--labels={PREFIX}/fail=oom")
    status = eventually(
        lambda: app_status(cluster, "labelled", "labelled"), lambda seen: "terminated" in seen.get("lastState", {})
    )
    assert status["lastState"]["terminated"]["exitCode"] == 137


def test_a_failing_pod_can_be_deleted_at_any_time(cluster: Cluster) -> None:
    cluster.kubectl("create", "-f", "-", body=pod("doomed", annotations={"fail": "crash"}))
    eventually(lambda: app_status(cluster, "doomed"), bool)
    cluster.kubectl("delete", "pod", "doomed", "--timeout=20s")


def test_what_does_not_fit_is_unschedulable(cluster: Cluster) -> None:
    big = [{"name": "app", "image": "a:1", "resources": {"requests": {"cpu": "10000"}}}]
    cluster.kubectl("create", "-f", "-", body=pod("huge", containers=big))
    cluster.kubectl("wait", "--for=condition=PodScheduled=false", "pod/huge", "--timeout=20s")
    (condition,) = cluster.get("pod", "huge")["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert "Insufficient cpu" in condition["message"]


# --- what the API server refuses -------------------------------------------------------------------------------------


def test_a_service_account_token_authenticates_and_grants_nothing_more(cluster: Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", "reader")
    token = cluster.kubectl("create", "token", "reader").strip()
    server = cluster.kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    cluster.kubectl("config", "set-credentials", "reader", f"--token={token}")
    cluster.kubectl("config", "set-context", "reader", "--cluster=kind-shared", "--user=reader")
    reader = Cluster("shared", cluster.kubeconfig, cluster.folder)
    as_reader = ("--context=reader",)
    assert server.startswith("https://127.0.0.1:")
    who = reader.kubectl("auth", "whoami", "--output=json", options=as_reader)
    assert json.loads(who)["status"]["userInfo"]["username"] == "system:serviceaccount:default:reader"
    refused = reader.try_kubectl("get", "pods", options=as_reader)
    assert refused.returncode == 1
    assert 'User "system:serviceaccount:default:reader" cannot list resource "pods"' in refused.stderr
    cluster.kubectl("create", "role", "look", "--verb=list", "--resource=pods")
    cluster.kubectl("create", "rolebinding", "look", "--role=look", "--serviceaccount=default:reader")
    reader.kubectl("get", "pods", options=as_reader)
    assert reader.try_kubectl("get", "secrets", options=as_reader).returncode == 1


def test_a_quota_is_kept(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", "narrow")
    cluster.kubectl("--namespace=narrow", "create", "quota", "few", "--hard=configmaps=1")
    # One is there from the beginning: kube-root-ca.crt.
    refused = eventually(
        lambda: cluster.try_kubectl("--namespace=narrow", "create", "configmap", "more", "--dry-run=server"),
        lambda answer: answer.returncode,
    )
    assert "exceeded quota: few" in refused.stderr
