"""Another Helm operation begins after the operator has read the release, and before it starts helm."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from harness.chart_files import package_chart
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

WEB = CHARTS / "web"
_INDEX = """apiVersion: v1
entries:
  web:
    - {apiVersion: v2, name: web, version: 1.2.3, urls: [web-1.2.3.tgz]}
"""
# Longer than a manual helm needs to start; the operator allows two minutes for a download.
_HELD_SECONDS = 60.0


class SlowRepository:
    """A chart repository that answers nothing until it is told to."""

    def __init__(self, folder: Path) -> None:
        files = {str(file.relative_to(WEB)): file.read_text() for file in WEB.rglob("*") if file.is_file()}
        (folder / "index.yaml").write_text(_INDEX)
        (folder / "web-1.2.3.tgz").write_bytes(package_chart(files, top="web"))
        self.asked, self.answers = threading.Event(), threading.Event()
        repository = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def do_GET(self) -> None:
                repository.asked.set()
                repository.answers.wait(_HELD_SECONDS)
                super().do_GET()

            def log_message(self, *arguments: Any) -> None:
                """Not into the test's output."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def source(self) -> dict[str, str]:
        """The chart in it, as a ManagedChart names it."""
        return {"repository": f"http://127.0.0.1:{self.server.server_port}", "name": "web", "version": "1.2.3"}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[SlowRepository]:
    """A repository that is slow until its event `answers` is set."""
    found = SlowRepository(tmp_path)
    with found.server:
        thread = threading.Thread(target=found.server.serve_forever)
        thread.start()
        yield found
        found.answers.set()
        found.server.shutdown()
        thread.join()


@contextmanager
def helm_by_hand(cluster: Cluster, namespace: str, *command: str) -> Iterator[None]:
    """Run helm on the release web for as long as the block runs, and interrupt it at the end."""
    values = {"podAnnotations": {"devcluster.managedchart.dev/fail": "never"}}
    words = [*command, "web", str(WEB), f"--namespace={namespace}", "--wait", "--timeout=120s", "--values=-"]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as helm:
        assert helm.stdin
        helm.stdin.write(json.dumps(values).encode())
        helm.stdin.close()
        try:
            yield
            assert helm.poll() is None, "it was to be at work all the time"
        finally:
            helm.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("installed", [False, True], ids=["first install", "upgrade"])
def test_a_release_that_somebody_else_changes_is_left_alone(
    cluster: Cluster,
    operator: OperatorProcess,
    ns: str,
    helm_binary: str,
    repository: SlowRepository,
    *,
    installed: bool,
) -> None:
    """The other operation is neither marked failed nor rolled back; the operator's runs after it."""
    before = []
    if installed:
        cluster.apply(managedchart("web", {"path": str(WEB)}), namespace=ns)
        cluster.wait_ready(ns, "web")
        before = [(1, "deployed")]
    retry = {"limit": 20, "backoff": "1s", "maxBackoff": "1s"}
    cluster.apply(managedchart("web", repository.source, values={"message": "ours"}, retry=retry), namespace=ns)
    assert repository.asked.wait(30)
    verb, status = ("upgrade", "pending-upgrade") if installed else ("install", "pending-install")
    theirs = (len(before) + 1, status)
    with helm_by_hand(cluster, ns, helm_binary, verb):
        secrets = f"/api/v1/namespaces/{ns}/secrets"
        cluster.wait(secrets, f"sh.helm.release.v1.web.v{theirs[0]}", lambda found: found, what="there")
        repository.answers.set()

        chart = cluster.wait_failed(ns, "web", "ReleaseLocked")
        failure = chart["status"]["lastFailure"]
        assert "Another Helm operation on the release is in progress" in failure["message"]
        assert "revision" not in failure, "the newest revision is theirs"
        chart = cluster.wait_chart(
            ns,
            "web",
            lambda found: "Another Helm operation" in condition_of(found, "Reconciling").get("message", ""),
            what="waiting",
        )
        assert f"(revision {theirs[0]} is {status})" in condition_of(chart, "Reconciling")["message"]
        assert condition_of(chart, "Ready")["reason"] == "ReleaseLocked"
        assert cluster.revisions(ns, "web") == [*before, theirs]
    cluster.wait_ready(ns, "web")
    assert cluster.revisions(ns, "web")[-1] == (theirs[0] + 1, "deployed")


def test_force_takes_over_a_lock_immediately(
    cluster: Cluster, operator: OperatorProcess, ns: str, helm_binary: str
) -> None:
    """By the command that the message of the wait shows."""
    cluster.apply(managedchart("web", {"path": str(WEB)}), namespace=ns)
    cluster.wait_ready(ns, "web")
    with helm_by_hand(cluster, ns, helm_binary, "upgrade"):
        secrets = f"/api/v1/namespaces/{ns}/secrets"
        cluster.wait(secrets, "sh.helm.release.v1.web.v2", lambda found: found, what="there")
        chart = cluster.wait_chart(
            ns,
            "web",
            lambda found: "Another Helm operation" in condition_of(found, "Reconciling").get("message", ""),
            what="waiting",
        )
        told = condition_of(chart, "Reconciling")["message"]
        assert "to take it over now: kubectl -n" in told
        command = told.rpartition("to take it over now: ")[2]
        kubectl = f"{cluster.kubectl_path} --kubeconfig={cluster.kubeconfig}"
        subprocess.run(["bash", "-c", command.replace("kubectl", kubectl, 1)], check=True, capture_output=True)
        cluster.wait(secrets, "sh.helm.release.v1.web.v3", lambda found: found, what="there")
    cluster.wait_ready(ns, "web")
    assert cluster.revisions(ns, "web")[1] == (2, "failed")
