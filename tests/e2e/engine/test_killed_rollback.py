"""helm is killed while it goes back: the way back is gone again, and nothing stays pending."""

import contextlib
import os
import signal
from pathlib import Path

from conftest import REPOSITORY
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

WEB = {"path": str(REPOSITORY / "tests" / "charts" / "web")}
_FAIL = "devcluster.managedchart.dev/fail"


def rollbacks(namespace: str) -> list[int]:
    """The processes of helm that roll something back in a namespace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                if b"rollback" in arguments and f"--namespace={namespace}".encode() in arguments:
                    found.append(int(folder.name))
    return found


def test_a_rollback_whose_helm_was_killed_is_begun_anew(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """It was left pending for ever, with the resource Stalled: found by the chaos test."""
    slow = {_FAIL: "slow", "devcluster.managedchart.dev/delay-seconds": "3"}
    cluster.apply(managedchart("web", WEB, values={"podAnnotations": slow, "replicas": 2}), namespace=ns)
    cluster.wait_ready(ns, "web")
    # One of the two slow pods has to go, so that going back takes its time.
    never = {"podAnnotations": {_FAIL: "never"}, "replicas": 1}
    spec = {"timeout": "6s", "retry": {"limit": 0, "backoff": "1s"}}
    cluster.apply(managedchart("web", WEB, values=never, **spec), namespace=ns)

    def pending(secret: dict[str, dict[str, dict[str, str]]] | None) -> bool:
        return secret is not None and secret["metadata"]["labels"]["status"] == "pending-rollback"

    cluster.wait(f"/api/v1/namespaces/{ns}/secrets", "sh.helm.release.v1.web.v3", pending, what="pending")
    (pid,) = rollbacks(ns)
    os.kill(pid, signal.SIGKILL)
    found = cluster.wait_chart(
        ns,
        "web",
        lambda chart: condition_of(chart, "Stalled").get("message", "").startswith("rolled back to revision 1"),
        what="rolled back",
    )
    assert condition_of(found, "Ready")["reason"] == "Timeout"
    assert cluster.revisions(ns, "web")[-1] == (4, "deployed")
    assert not any(status.startswith("pending") for _, status in cluster.revisions(ns, "web"))
