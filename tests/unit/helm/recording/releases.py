"""Waits and hooks that fail, releases in the way, and an API server that is away."""

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from managedchart_operator.helm import command
from recording.manifests import FAIL, SECRETS, STATEFUL_SET, configmap, deployment, job
from recording.recorder import CHARTS, DEVCLUSTER, Recorder, case, reply

# -- waiting


@case
def wait_timeout(r: Recorder):
    text = deployment("web", fail="unready") + deployment("worker", fail="image", selector="worker")
    return r.upgrade(r.chart(text), r.namespace(), timeout="3s")


@case
def wait_timeout_on_upgrade(r: Recorder):
    return r.changed(deployment(), deployment(fail="unready"), timeout="3s")


@case
def wait_timeout_of_other_kinds(r: Recorder):
    claim = (
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [ReadWriteOnce]\n"
        "  storageClassName: nothing\n  resources: {requests: {storage: 1Gi}}\n---\n"
    )
    return r.upgrade(
        r.chart(
            claim
            + STATEFUL_SET.replace("NAME", "web").replace(
                "labels: {app: web}}", f"labels: {{app: web}}, annotations: {{{FAIL}: unready}}}}", 1
            )
        ),
        r.namespace(),
        timeout="3s",
    )


@case
def progress_deadline(r: Recorder):
    return r.upgrade(
        r.chart(deployment(fail="unready", extra="progressDeadlineSeconds: 2")), r.namespace(), timeout="20s"
    )


@case
def hook_failed(r: Recorder):
    return r.upgrade(
        CHARTS / "hooks", r.namespace(), values={"pre": {"podAnnotations": {FAIL: "job-fail"}}}, timeout="20s"
    )


@case
def hook_failed_after(r: Recorder):
    return r.upgrade(
        CHARTS / "hooks", r.namespace(), values={"post": {"podAnnotations": {FAIL: "job-fail"}}}, timeout="20s"
    )


@case
def hook_failed_on_upgrade(r: Recorder):
    ns = r.namespace()
    r.upgrade(CHARTS / "hooks", ns)
    return r.upgrade(CHARTS / "hooks", ns, values={"pre": {"podAnnotations": {FAIL: "job-fail"}}}, timeout="20s")


@case
def hook_timeout(r: Recorder):
    return r.upgrade(CHARTS / "hooks", r.namespace(), values={"pre": {"podAnnotations": {FAIL: "image"}}}, timeout="2s")


@case
def hook_refused(r: Recorder):
    text = configmap().replace(
        "name: web", 'name: web\n  namespace: elsewhere\n  annotations: {"helm.sh/hook": pre-install}'
    )
    return r.upgrade(r.chart(text), r.namespace())


# -- the release


def _held(r: Recorder, ns: str, *, stop: signal.Signals) -> tuple[int, str]:
    chart = r.chart(deployment(fail="unready"))
    process = r.start(r.upgrade_arguments(chart, ns, timeout="60s"))
    for _ in range(200):
        if r.kubectl("get", "deployment", "web", "-n", ns, "--ignore-not-found"):
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(stop)
    _, stderr = process.communicate()
    return process.returncode, stderr.decode()


@case
def another_operation(r: Recorder):
    ns = r.namespace()
    _held(r, ns, stop=signal.SIGKILL)
    return r.upgrade(r.chart(configmap()), ns)


@case
def stopped_by_sigterm(r: Recorder):
    return _held(r, r.namespace(), stop=signal.SIGTERM)


@case
def killed_by_sigkill(r: Recorder):
    return _held(r, r.namespace(), stop=signal.SIGKILL)


@case
def uninstall_not_found(r: Recorder):
    arguments = command.uninstall(release="nothing", namespace="default", timeout="3s", foreground=True, wait=True)
    return r.helm([argument for argument in arguments if argument != "--ignore-not-found"])


@case
def uninstall_blocked(r: Recorder):
    ns = r.namespace()
    text = configmap("kept").replace("name: kept", "name: kept\n  finalizers: [test.managedchart.dev/kept]")
    r.upgrade(r.chart(text), ns)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="2s", foreground=True, wait=True))


@case
def uninstall_forbidden(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(configmap()), ns)
    as_user = r.user(ns, f'[{SECRETS}, {{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}}]')
    return r.helm([*command.uninstall(release="web", namespace=ns, timeout="2s", foreground=True, wait=True), *as_user])


@case
def uninstall_hook_failed(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(job("bye", fail="job-fail", hook="pre-delete")), ns)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="10s", foreground=True, wait=True))


@case
def uninstall_hook_timeout(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(job("bye", fail="image", hook="pre-delete")), ns)
    return r.helm(command.uninstall(release="web", namespace=ns, timeout="2s", foreground=True, wait=True))


@case
def rollback_no_revision(r: Recorder):
    ns = r.namespace()
    r.upgrade(r.chart(configmap()), ns)
    options = command.ReleaseOptions(release="web", namespace=ns, timeout="3s")
    return r.helm(command.rollback(options, revision=7, description="x"))


@case
def rollback_not_found(r: Recorder):
    options = command.ReleaseOptions(release="nothing", namespace="default", timeout="3s")
    return r.helm(command.rollback(options, revision=1, description="x"))


@case
def no_deployed_release(r: Recorder):
    ns, chart = r.namespace(), r.chart(configmap())
    r.upgrade(chart, ns)
    r.helm(
        [*command.uninstall(release="web", namespace=ns, timeout="3s", foreground=True, wait=True), "--keep-history"]
    )
    return r.helm([argument for argument in r.upgrade_arguments(chart, ns) if argument != "--install"])


@case
def name_in_use_by_history(r: Recorder):
    ns, chart = r.namespace(), r.chart(configmap())
    r.upgrade(chart, ns)
    return r.helm(["install", "web", str(chart), f"--namespace={ns}"])


# -- the API server


def _elsewhere(r: Recorder, server: str) -> Path:
    config = json.loads(r.kubectl("config", "view", "--raw", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = server
    file = r.folder / "elsewhere"
    file.write_text(json.dumps(config))
    return file


@case
def api_refused(r: Recorder):
    return r.helm(
        r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(_elsewhere(r, "https://127.0.0.1:1"))
    )


@case
def api_dns(r: Recorder):
    file = _elsewhere(r, "https://kubernetes.no-such-host.invalid")
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(file))


@case
def api_untrusted(r: Recorder):
    config = json.loads(
        _elsewhere(r, r.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")).read_text()
    )
    config["clusters"][0]["cluster"].pop("insecure-skip-tls-verify", None)
    config["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(
        r.certificate()[0].read_bytes()
    ).decode()
    file = r.folder / "untrusted"
    file.write_text(json.dumps(config))
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(file))


@case
def api_unauthorized(r: Recorder):
    config = json.loads(r.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": "wrong"}
    file = r.folder / "unauthorized"
    file.write_text(json.dumps(config))
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(file))


def _broken_api(r: Recorder, status: int, body: dict[str, Any] | None = None):
    answer = json.dumps(body or {}).encode()
    url = r.server(lambda request: reply(request, status, answer, Content_Type="application/json"))
    return r.helm(r.upgrade_arguments(r.chart(configmap()), "default"), KUBECONFIG=str(_elsewhere(r, url)))


@case
def api_503(r: Recorder):
    return _broken_api(r, 503)


@case
def api_etcd(r: Recorder):
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "etcdserver: request timed out",
        "code": 500,
    }
    return _broken_api(r, 500, status)


@case
def api_dies_while_waiting(r: Recorder):
    """Last, because the cluster is not usable for a moment."""
    ns = r.namespace()
    process = r.start(r.upgrade_arguments(r.chart(deployment(fail="unready")), ns, timeout="8s"))
    time.sleep(2)
    subprocess.run([DEVCLUSTER, "restart-apiserver", "--name", "record-outputs"], check=True, stdout=sys.stderr)
    _, stderr = process.communicate()
    return process.returncode, stderr.decode()
