"""What a run has found, as a table for people and as one line of JSON for programs.

Boundary: shape and text; nothing is measured here. Invariant: the names in the JSON stay, since runs are compared.
"""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PHASES = ("install", "noop", "upgrade", "restart", "delete")
FOLDER = Path(__file__).resolve().parent.parent / "results"


@dataclass
class PhaseResult:
    """One phase: all releases once with the operator, and once with plain helm. Sums over the rounds."""

    seconds: float = 0.0
    floor_seconds: float = 0.0
    operator_cpu_seconds: float = 0.0
    """CPU of the operator itself."""
    helm_cpu_seconds: float = 0.0
    """CPU of its helm processes."""
    floor_cpu_seconds: float = 0.0
    """CPU of plain helm."""
    cluster_cpu_seconds: float = 0.0
    """CPU of the control plane while the operator worked."""
    floor_cluster_cpu_seconds: float = 0.0
    """The same while plain helm did."""
    client_cpu_seconds: float = 0.0
    """CPU of the benchmark itself, which writes the resources and watches them."""
    helm_processes: int = 0
    api_requests: int = 0
    """Requests that the operator itself made."""

    @property
    def ratio(self) -> float:
        """How many times the floor's time the operator took."""
        return self.seconds / self.floor_seconds if self.floor_seconds else 0.0

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        rounded = {name: round(value, 3) for name, value in asdict(self).items()}
        return {**rounded, "ratio": round(self.ratio, 3)}


@dataclass
class Single:
    """One release at a time on an idle operator: medians, and the worst."""

    samples: int
    start_latency_ms: float
    """From the creation of the resource to the start of helm."""
    start_latency_max_ms: float
    operator_cpu_ms: float
    """CPU of the operator itself for one install."""
    ready_ms: float
    """From the creation of the resource to Ready."""


@dataclass
class Result:
    """A whole run."""

    n: int
    rounds: int
    phases: dict[str, PhaseResult] = field(default_factory=lambda: {name: PhaseResult() for name in PHASES})
    single: Single | None = None
    operator_peak_rss_mb: float = 0.0
    operator_idle_rss_mb: float = 0.0
    helm_peak_rss_mb: float = 0.0
    floor_helm_peak_rss_mb: float = 0.0
    total_peak_rss_mb: float = 0.0
    max_loop_lag_ms: float = 0.0
    audit_requests: dict[str, int] | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        numbers = ("operator_peak_rss_mb", "operator_idle_rss_mb", "helm_peak_rss_mb", "floor_helm_peak_rss_mb",
                   "total_peak_rss_mb", "max_loop_lag_ms")  # fmt: skip
        return {
            "n": self.n,
            "rounds": self.rounds,
            "phases": {name: phase.document() for name, phase in self.phases.items()},
            "single": {key: round(value, 1) for key, value in asdict(self.single).items()} if self.single else None,
            **{name: round(getattr(self, name), 1) for name in numbers},
            "audit_requests": self.audit_requests,
            "environment": self.environment,
        }


def table(document: dict[str, Any]) -> str:
    """Return a run's document as text."""
    head = (
        f"{'phase':8} {'seconds':>8} {'floor':>8} {'ratio':>6} {'own CPU s':>10} {'helm CPU s':>11}"
        f" {'floor CPU s':>12} {'cluster CPU s':>14} {'floor':>6} {'helms':>6} {'requests':>9}"
    )
    lines = [f"{document['n']} releases", "", head]
    lines += [
        f"{name:8} {p['seconds']:8.2f} {p['floor_seconds']:8.2f} {p['ratio']:6.2f} {p['operator_cpu_seconds']:10.2f}"
        f" {p['helm_cpu_seconds']:11.2f} {p['floor_cpu_seconds']:12.2f}"
        f" {p['cluster_cpu_seconds']:14.2f} {p['floor_cluster_cpu_seconds']:6.2f}"
        f" {p['helm_processes']:6d} {p['api_requests']:9d}"
        for name, p in document["phases"].items()
    ]
    operator, idle = document["operator_peak_rss_mb"], document["operator_idle_rss_mb"]
    helm, plain = document["helm_peak_rss_mb"], document["floor_helm_peak_rss_mb"]
    lines.append("")
    lines.append(
        f"memory: operator {operator:.0f} MiB at its peak, {idle:.0f} idle; one helm {helm:.0f} (plain: {plain:.0f});"
        f" together {document['total_peak_rss_mb']:.0f}"
    )
    lines.append(f"event loop: at most {document['max_loop_lag_ms']:.0f} ms late")
    if single := document["single"]:
        lines.append(
            f"one at a time ({single['samples']:.0f}): helm starts {single['start_latency_ms']:.0f} ms after the creation"
            f" (worst {single['start_latency_max_ms']:.0f}), Ready after {single['ready_ms']:.0f} ms;"
            f" {single['operator_cpu_ms']:.1f} ms of the operator's own CPU"
        )
    if audit := document["audit_requests"]:
        lines.append("requests that the API server saw: " + ", ".join(f"{key} {value}" for key, value in audit.items()))
    return "\n".join(lines)


def environment(helm: Path) -> dict[str, Any]:
    """Return what must be known about where a run took place."""
    root = Path(__file__).resolve().parent.parent.parent
    commit = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    version = subprocess.run(
        [str(helm), "version", "--template={{.Version}}"], capture_output=True, text=True, check=True
    )
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "helm": version.stdout.strip(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def keep(kind: str, document: dict[str, Any]) -> Path:
    """Write a run's document to bench/results/ and return the file."""
    FOLDER.mkdir(exist_ok=True)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    file = FOLDER / f"{kind}-{name}.json"
    file.write_text(json.dumps(document, indent=1) + "\n")
    return file
