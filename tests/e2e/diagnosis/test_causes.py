"""Each cause, provoked on a real API server, is reported in status.lastFailure."""

import json
import random
from typing import Any

import pytest

from conftest import CHARTS
from harness.cluster import Cluster, KubectlError, condition_of, managedchart
from harness.operator_process import OperatorProcess

RAW = {"path": str(CHARTS / "raw")}
WEB = {"path": str(CHARTS / "web")}
HOOKS = {"path": str(CHARTS / "hooks")}
FAIL = "devcluster.managedchart.dev/fail"
EXIT_CODE = "devcluster.managedchart.dev/exit-code"
# Long enough that only failing fast explains an end within the test's own wait.
LONG = "100s"


def deployment(annotations: dict[str, str] | None = None, **pod: Any) -> dict[str, Any]:
    """Build a Deployment of one pod."""
    labels = {"app": "one"}
    container = {"name": "main", "image": "registry.example/one:1", **pod.pop("container", {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": {"containers": [container], **pod},
            },
        },
    }


def raw(*objects: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Build a ManagedChart that renders these objects."""
    spec = {"timeout": "4s", "retry": {"limit": 0}, **spec}
    return managedchart("one", RAW, values={"objects": list(objects)}, **spec)


def failure_of(chart: dict[str, Any]) -> dict[str, Any]:
    """Return lastFailure, after checking what every one must have."""
    failure: dict[str, Any] = chart["status"]["lastFailure"]
    ready = condition_of(chart, "Ready")
    assert ready["reason"] == failure["reason"]
    assert ready["message"] == failure["message"]
    assert len(json.dumps(failure)) <= 16 * 1024
    assert len(failure.get("events", [])) <= 20
    return failure


def test_an_image_that_cannot_be_pulled_ends_the_wait_early(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """The reason names the image; helm is not left to wait."""
    cluster.apply(raw(deployment({FAIL: "image"}), timeout=LONG), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "ImagePull"))
    assert "registry.example/one:1" in failure["message"]
    assert failure["rootCause"]["kind"] == "Pod"
    assert failure["rootCause"]["container"] == "main"
    assert failure["containers"][0]["reason"] in ("ImagePullBackOff", "ErrImagePull")
    assert failure["hint"]


@pytest.mark.parametrize(("code", "meaning"), [("1", "exited with an error"), ("127", "not found"), ("139", "SIGSEGV")])
def test_a_crash_loop_explains_the_exit_code(
    cluster: Cluster, operator: OperatorProcess, ns: str, code: str, meaning: str
) -> None:
    """Three restarts are fatal; the log of the run before says why."""
    cluster.apply(raw(deployment({FAIL: "crash", EXIT_CODE: code}), timeout=LONG), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "CrashLoop"))
    assert f"exit code {code}" in failure["message"]
    assert meaning in failure["message"]
    container = failure["containers"][0]
    assert container["exitCode"] == int(code)
    assert container["restarts"] >= 3
    assert container["previousLog"]
    # The pod is deleted with the failed first install; the log is where the hint says.
    command = f"-n {ns} get managedchart one -o jsonpath={{.status.lastFailure.containers[0].previousLog}}"
    assert failure["hint"].replace("'", "").endswith(f": kubectl {command}")
    assert cluster.kubectl(*command.split()).strip() == container["previousLog"].strip()


def test_an_event_of_the_year_zero_is_skipped(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The API server takes a time that Python does not have, from anybody who may write Events in the namespace."""
    unreadable = {
        "metadata": {"name": "odd"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "odd", "namespace": ns},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "odd",
        "lastTimestamp": "0000-01-01T00:00:00Z",
    }
    cluster.create(f"/api/v1/namespaces/{ns}/events", unreadable)
    cluster.apply(raw(deployment({FAIL: "crash"}), timeout=LONG), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "CrashLoop"))
    assert failure["events"]
    assert "incomplete" not in failure


def test_an_oom_killed_container_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """OOMKilled is not merely exit code 137."""
    cluster.apply(raw(deployment({FAIL: "oom"}), timeout=LONG), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "OOMKilled"))
    assert "was OOM-killed" in failure["message"]
    assert failure["containers"][0]["exitCode"] == 137


def test_an_unschedulable_pod_has_the_schedulers_message(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """0/1 nodes are available: …"""
    huge = deployment(container={"resources": {"requests": {"cpu": "9999"}}})
    cluster.apply(raw(huge), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "Unschedulable"))
    assert "Insufficient cpu" in failure["message"]


def test_a_failing_readiness_probe_uses_the_whole_timeout(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Not ready is never fatal."""
    cluster.apply(raw(deployment({FAIL: "unready"})), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "ReadinessProbe"))
    assert "Readiness probe failed" in failure["message"]
    assert failure["containers"][0]["log"]


def test_a_claim_without_a_volume_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The pod waits for a claim that nothing provisions."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "nobody-provisions-this",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    pod = deployment(volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])
    cluster.apply(raw(claim, pod), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "VolumeUnbound"))
    assert "PersistentVolumeClaim" in failure["message"] or "storageclass" in failure["message"]


def test_an_exceeded_quota_is_reported_early(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The ReplicaSet cannot create its pods."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    cluster.apply(quota, namespace=ns)
    cluster.wait(
        f"/api/v1/namespaces/{ns}/resourcequotas",
        "none",
        lambda q: q and (q.get("status") or {}).get("hard"),
        what="in force",
    )
    cluster.apply(raw(deployment(), timeout=LONG), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "QuotaExceeded"))
    assert "exceeded quota" in failure["message"]


def test_a_limit_range_that_refuses_the_pods_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """As it is for a Pod of the chart itself, which helm sends."""
    limits = {"limits": [{"type": "Container", "max": {"cpu": "100m"}}]}
    cluster.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": limits}, namespace=ns
    )
    pod = deployment(container={"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}})
    cluster.apply(raw(pod, timeout=LONG), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "AdmissionRefused"))
    assert "maximum cpu usage" in failure["message"]


def test_a_webhook_without_endpoints_is_reported_and_retried(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """The chart is not to blame; it is tried again."""
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": ns},
        "webhooks": [
            {
                "name": "gone.example.com",
                "clientConfig": {"service": {"name": "gone", "namespace": ns}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
                "objectSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "Helm"}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
            }
        ],
    }
    cluster.apply(hook)
    try:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"}}
        cluster.apply(raw(config, retry={"limit": 20, "backoff": "1s", "maxBackoff": "1s"}), namespace=ns)
        failure = failure_of(cluster.wait_failed(ns, "one", "WebhookUnavailable"))
        assert "gone.example.com" in failure["message"]
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", ns)
    cluster.wait_ready(ns, "one")


def test_a_refusal_by_an_admission_policy_is_quoted(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """What the policy says is what the person needs."""
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": ns},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            },
            "validations": [{"expression": "object.metadata.name != 'one'", "message": "no object may be called one"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": ns},
        "spec": {"policyName": ns, "validationActions": ["Deny"]},
    }
    cluster.apply(policy, binding)
    try:
        probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
        _until_refused(cluster, probe, ns)
        cluster.apply(raw(probe), namespace=ns)
        failure = failure_of(cluster.wait_failed(ns, "one", "AdmissionRefused"))
        assert "no object may be called one" in failure["message"]
    finally:
        cluster.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", ns)


def _until_refused(cluster: Cluster, probe: dict[str, Any], ns: str) -> None:
    """A policy takes a moment to be in force, which only a dry run shows."""
    for _ in range(100):
        try:
            cluster.kubectl("create", "--dry-run=server", f"--namespace={ns}", "-f", "-", input=json.dumps(probe))
        except KubectlError as error:
            if "no object may be called one" in error.stderr:
                return
            raise
    raise AssertionError("the policy never came into force")


def test_a_failed_hook_has_the_log_of_its_pod(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """More than BackoffLimitExceeded."""
    values = {
        "pre": {"enabled": True, "podAnnotations": {FAIL: "job-fail", EXIT_CODE: "3"}},
        "post": {"enabled": False},
    }
    chart = managedchart("one", HOOKS, values=values, timeout="20s", retry={"limit": 0})
    cluster.apply(chart, namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "HookFailed"))
    assert "one-pre" in failure["message"]
    assert "exit code 3" in failure["message"]
    assert failure["containers"][0]["log"]


def test_a_hook_that_takes_too_long_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The hook is named, not only the deadline."""
    values = {"pre": {"enabled": True, "podAnnotations": {FAIL: "never"}}, "post": {"enabled": False}}
    chart = managedchart("one", HOOKS, values=values, timeout="3s", retry={"limit": 0})
    cluster.apply(chart, namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "HookTimeout"))
    assert "one-pre" in failure["message"] + failure.get("helmError", "")


def test_a_job_past_its_backoff_limit_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """A Job of the chart itself, no hook."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "one"},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": {FAIL: "job-fail"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.example/one:1"}]},
            },
        },
    }
    cluster.apply(raw(job, timeout="20s"), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "JobBackoffLimit"))
    assert "exit code" in failure["message"]


def test_an_immutable_field_is_not_retried(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """It is Stalled immediately, since a retry cannot succeed."""
    cluster.apply(raw(deployment()), namespace=ns)
    cluster.wait_ready(ns, "one")
    changed = deployment()
    changed["spec"]["selector"]["matchLabels"] = {"app": "two"}
    changed["spec"]["template"]["metadata"]["labels"] = {"app": "two"}
    cluster.apply(raw(changed, retry={"limit": 5}), namespace=ns)
    chart = cluster.wait_failed(ns, "one", "ImmutableField")
    assert condition_of(chart, "Stalled")["status"] == "True"
    assert "selector" in failure_of(chart)["message"]


def test_a_field_conflict_in_a_hook_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Which manager and which field. helm forces no conflicts for hooks, and this one is not deleted before it is made."""
    policy = {"helm.sh/hook": "pre-upgrade", "helm.sh/hook-delete-policy": "hook-failed"}
    meta = {"name": "hook", "annotations": policy}
    hook = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}
    cluster.apply(raw(hook, deployment()), namespace=ns)
    cluster.wait_ready(ns, "one")
    cluster.kubectl("create", "configmap", "hook", "--from-literal=a=2", f"--namespace={ns}")
    cluster.apply(raw(hook, deployment({"example.com/change": "2"})), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "FieldConflict"))
    assert "kubectl-create" in failure["message"]
    assert ".data.a" in failure["message"]
    # The advice is carried out, and works.
    command = f"-n {ns} delete configmap hook"
    assert failure["hint"].endswith(f": kubectl {command}")
    cluster.kubectl(*command.split())
    cluster.kubectl("annotate", "managedchart", "one", "managedchart.dev/retry=1", f"--namespace={ns}")
    cluster.wait_ready(ns, "one")


def test_a_pod_that_a_stateful_set_does_not_replace_is_named(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """The pod of a broken revision stays when the change is taken back, by a rollback and by the user."""

    def stateful_set(fail: str) -> dict[str, Any]:
        spec = deployment({FAIL: fail})["spec"]
        meta = {"name": "db"}
        return raw(
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": {**spec, "serviceName": "db"}}
        )

    blocked = f"Pod {ns}/db-0 is of an earlier revision and not ready, so StatefulSet {ns}/db does not replace it"
    command = f"-n {ns} delete pod db-0"
    cluster.apply(stateful_set(""), namespace=ns)
    cluster.wait_ready(ns, "one")
    cluster.apply(stateful_set("crash"), namespace=ns)
    [event] = cluster.wait_event(ns, "one", "RollbackFailed")
    assert event["message"].startswith(f"The rollback failed: {blocked}: Container main")
    assert f": kubectl {command})" in event["message"]

    cluster.apply(stateful_set(""), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "Timeout"))
    assert failure["message"].startswith(f"{blocked}: Container main in Pod {ns}/db-0 keeps crashing")
    assert failure["hint"].endswith(f": kubectl {command}")
    assert failure["rootCause"]["name"] == "db-0"
    assert [(each["pod"], each.get("exitCode")) for each in failure["containers"]] == [("db-0", 1)], failure
    # The advice is carried out, and works.
    cluster.kubectl(*command.split())
    cluster.kubectl("annotate", "managedchart", "one", "managedchart.dev/retry=1", f"--namespace={ns}")
    cluster.wait_ready(ns, "one")


def test_a_missing_kind_is_reported(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Its CRD has to come first."""
    unknown = {"apiVersion": "nobody.example.com/v1", "kind": "Unknown", "metadata": {"name": "one"}}
    cluster.apply(raw(unknown), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "KindMissing"))
    assert "Unknown" in failure["message"]


def test_a_too_large_release_names_its_biggest_parts(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """1 MiB is what a Secret holds; nothing is left behind."""
    noise = random.Random(1)
    objects = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"big-{number}"},
            "data": {"noise": noise.randbytes(120_000).hex()},
        }
        for number in range(4)
    ]
    path = "/api/v1/namespaces/" + ns + "/configmaps"
    cluster.kubectl("create", f"--namespace={ns}", "-f", "-", input=json.dumps(raw(*objects)))
    failure = failure_of(cluster.wait_failed(ns, "one", "ReleaseTooLarge"))
    assert "1 MiB" in failure["message"] or "1048576" in failure["message"]
    assert (
        "the biggest (before compression): raw/templates/objects.yaml 938 KiB, the values 938 KiB" in failure["message"]
    )
    assert "incomplete" not in failure
    assert cluster.items(path, labelSelector="app.kubernetes.io/managed-by=Helm") == []


def test_pods_without_a_cause_are_a_plain_timeout(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """No cause is invented."""
    cluster.apply(raw(deployment({FAIL: "never"}), timeout="3s"), namespace=ns)
    failure = failure_of(cluster.wait_failed(ns, "one", "Timeout"))
    assert "one" in failure["message"]


def test_pods_of_the_previous_revision_never_count(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Crash-looping pods of the previous revision exist while its fix slowly becomes ready."""
    cluster.apply(raw(deployment({FAIL: "crash"}), timeout=LONG, atomic=False), namespace=ns)
    cluster.wait_failed(ns, "one", "CrashLoop")
    slow = deployment({FAIL: "slow", "devcluster.managedchart.dev/delay-seconds": "5"})
    cluster.apply(raw(slow, timeout=LONG, atomic=False), namespace=ns)
    chart = cluster.wait_ready(ns, "one")
    assert "lastFailure" not in chart["status"]


def test_without_fail_fast_helm_uses_its_whole_timeout(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """With failFast: false, the cause is reported nevertheless."""
    cluster.apply(raw(deployment({FAIL: "image"}), timeout="9s", failFast=False), namespace=ns)
    chart = cluster.wait_failed(ns, "one", "ImagePull")
    execution = next(phase for phase in chart["status"]["phases"] if phase["name"] == "Exec")
    assert execution["durationSeconds"] >= 9
