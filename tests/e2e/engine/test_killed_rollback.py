"""helm is killed at the last attempt, or during a rollback: nothing stays pending, and the rollback is finished."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from conftest import CHARTS
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

WEB = {"path": str(CHARTS / "web")}
HOOKS = {"path": str(CHARTS / "hooks")}
"""A hook during which helm runs and can be killed; the operator itself waits for a release's objects."""
_FAIL = "devcluster.managedchart.dev/fail"


def helms(namespace: str, verb: bytes) -> list[int]:
    """The processes of helm that do something in a namespace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                if verb in arguments and f"--namespace={namespace}".encode() in arguments:
                    found.append(int(folder.name))
    return found


def kill(cluster: Cluster, namespace: str, verb: bytes, *, revision: int) -> None:
    """Wait until helm works on a revision, and kill it."""

    def pending(secret: dict[str, dict[str, dict[str, str]]] | None) -> bool:
        return secret is not None and secret["metadata"]["labels"]["status"].startswith("pending")

    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    cluster.wait(secrets, f"sh.helm.release.v1.web.v{revision}", pending, what="pending")
    (pid,) = helms(namespace, verb)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("atomic", "left"), [(True, (3, "deployed")), (False, (2, "failed"))])
def test_a_killed_last_attempt_leaves_nothing_pending(
    cluster: Cluster, operator: OperatorProcess, ns: str, *, atomic: bool, left: tuple[int, str]
) -> None:
    """Nobody would come again to take the revision over: found by the chaos test."""
    cluster.apply(managedchart("web", HOOKS), namespace=ns)
    cluster.wait_ready(ns, "web")
    never = {"pre": {"enabled": True, "podAnnotations": {_FAIL: "never"}}}
    cluster.apply(managedchart("web", HOOKS, values=never, retry={"limit": 0}, atomic=atomic), namespace=ns)
    kill(cluster, ns, b"upgrade", revision=2)
    cluster.wait_failed(ns, "web", "HelmFailed")
    secrets = f"/api/v1/namespaces/{ns}/secrets"
    name = f"sh.helm.release.v1.web.v{left[0]}"
    cluster.wait(secrets, name, lambda found: found and found["metadata"]["labels"]["status"] == left[1], what=left[1])
    assert cluster.revisions(ns, "web")[-1] == left


def test_a_killed_rollback_is_retried(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """It once stayed pending, with the resource Stalled (found by the chaos test)."""
    slow = {_FAIL: "slow", "devcluster.managedchart.dev/delay-seconds": "3"}
    cluster.apply(managedchart("web", WEB, values={"podAnnotations": slow, "replicas": 2}), namespace=ns)
    cluster.wait_ready(ns, "web")
    # One of the two slow pods must be deleted, so that the rollback takes time.
    never = {"podAnnotations": {_FAIL: "never"}, "replicas": 1}
    spec = {"timeout": "6s", "retry": {"limit": 0, "backoff": "1s"}}
    cluster.apply(managedchart("web", WEB, values=never, **spec), namespace=ns)

    kill(cluster, ns, b"rollback", revision=3)
    found = cluster.wait_chart(
        ns,
        "web",
        lambda chart: condition_of(chart, "Stalled").get("message", "").startswith("Rolled back to revision 1"),
        what="rolled back",
    )
    assert condition_of(found, "Ready")["reason"] == "Timeout"
    assert cluster.revisions(ns, "web")[-1] == (4, "deployed")
    assert not any(status.startswith("pending") for _, status in cluster.revisions(ns, "web"))
