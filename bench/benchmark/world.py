"""What a run of the benchmark works on: a fresh devcluster, plain helm, and the operator as a process.

Boundary: starts and stops things; measures nothing. Invariant: nothing of a run is left behind, whatever ends it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_kind import KindCluster

from benchmark.api import Api
from benchmark.processes import cpu_seconds, processes_of
from harness.cluster import Cluster
from harness.operator_process import OperatorProcess, service_account_kubeconfig

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "bench" / "chart"
DEVCLUSTER = ROOT / "hack" / "devcluster" / "devcluster"
_NAME = f"bench-{os.getpid()}"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True)
class World:
    """A fresh cluster with the CRD and the operator's identity, and a folder for this run's files."""

    cluster: Cluster
    api: Api
    kubeconfig: Path
    """The operator's identity; plain helm uses it too, so that both pay the same for authorization."""
    helm: Path
    folder: Path
    audit_log: Path | None

    def cluster_cpu_seconds(self) -> float:
        """Return the CPU time that the control plane has used so far; 0 where it runs in containers."""
        pids = processes_of(f"/{_NAME}/")
        return sum(cpu_seconds(pid) for pid in pids if pid != os.getpid())

    def namespace(self, name: str) -> str:
        """Create a namespace."""
        self.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def operator(self, name: str, *, helm: Path | None = None, **settings: str) -> OperatorProcess:
        """Return an operator that is not started yet."""
        return OperatorProcess(
            kubeconfig=self.kubeconfig,
            folder=self.folder / name,
            helm=str(helm or self.helm),
            chart_roots=[CHART],
            **settings,
        )

    def stamping_helm(self) -> tuple[Path, Path]:
        """Write a helm that notes the time of each upgrade's start (seconds since the epoch); return it and its notes."""
        program, stamps = self.folder / "stamping-helm", self.folder / "stamps"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = upgrade ] && echo "$2 $(date +%s.%N)" >> {stamps}\nexec {self.helm} "$@"\n'
        )
        program.chmod(0o700)
        stamps.touch()
        return program, stamps


@contextmanager
def fresh(*, audit: bool = False) -> Iterator[World]:
    """Bring up a cluster of this run's own; it is deleted at the end. With `audit`, every request is logged."""
    programs = Path(subprocess.check_output([str(DEVCLUSTER), "bin"], text=True).strip())
    folder = Path(tempfile.mkdtemp(prefix="managedchart-bench-"))
    audit_log = folder / "audit.log" if audit else None
    if audit_log:
        os.environ["DEVCLUSTER_AUDIT_LOG"] = str(audit_log)
    kind = KindCluster(_NAME, folder / "admin", kind_path=DEVCLUSTER, kubectl_path=programs / "kubectl")
    try:
        kind.create()
        cluster = Cluster(kind)
        cluster.kubectl("apply", "-f", str(ROOT / "crds" / "managedchart.yaml"))
        # Not `kubectl wait`, which fails when it looks before there is any condition.
        cluster.wait(_CRDS, "managedcharts.managedchart.dev", _established, what="established")
        for name in ("namespace.yaml", "serviceaccount.yaml", "rbac.yaml"):
            cluster.kubectl("apply", "-f", str(ROOT / "deploy" / name))
        kubeconfig = service_account_kubeconfig(cluster, folder / "identity")
        yield World(cluster, Api(folder / "admin"), kubeconfig, programs / "helm", folder, audit_log)
    finally:
        subprocess.run([str(DEVCLUSTER), "delete", "cluster", "--name", kind.name], check=False, capture_output=True)
        shutil.rmtree(kind.path, ignore_errors=True)
        if os.environ.get("MANAGEDCHART_BENCH_KEEP"):
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _established(definition: dict[str, Any] | None) -> bool:
    conditions = ((definition or {}).get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)


def say(text: str) -> None:
    """Tell the person at the terminal what goes on; results go to stdout."""
    print(text, file=sys.stderr, flush=True)
