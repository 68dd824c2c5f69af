"""A chart repository and an OCI registry with the charts of examples/charts.

helm packages, indexes and pushes; the servers are Python's http.server and go-containerregistry's, both on 127.0.0.1 and
without TLS. helm uses folders of the demo, nothing of the user's helm.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import background
from background import DemoError, Program
from controlplane.errors import exit_in_words
from places import CHARTS


@dataclass(frozen=True)
class Servers:
    """Addresses of the chart repository and the registry, and which of the two servers had to be started."""

    repository: str
    registry: str
    started: list[str]


def serve(folder: Path, programs: Path) -> Servers:
    """Package the charts, serve them, and return where. Raises DemoError."""
    served = folder / "repository"
    shutil.rmtree(served, ignore_errors=True)
    served.mkdir()
    helm = _Helm(programs / "helm", folder / "helm")
    charts = sorted(chart.parent for chart in CHARTS.glob("*/Chart.yaml"))
    helm("package", *map(str, charts), f"--destination={served}")
    helm("repo", "index", str(served))

    def repository(port: int) -> Program:
        serving = ["-m", "http.server", str(port), "--bind=127.0.0.1", f"--directory={served}"]
        return Program([sys.executable, "-P", *serving], "/index.yaml")

    def registry(port: int) -> Program:
        return Program([str(programs / "registry"), f"-port={port}"], "/v2/")

    started = []
    port, is_new = background.ensure("repository", repository, folder=folder)
    started += ["repository"] if is_new else []
    repository_url = f"http://127.0.0.1:{port}"
    port, is_new = background.ensure("registry", registry, folder=folder)
    started += ["registry"] if is_new else []
    registry_url = f"oci://127.0.0.1:{port}/charts"
    if is_new:  # it keeps its charts in memory
        for package in sorted(served.glob("*.tgz")):
            helm("push", str(package), registry_url, "--plain-http")
    return Servers(repository_url, registry_url, started)


@dataclass(frozen=True)
class _Helm:
    program: Path
    home: Path

    def __call__(self, *arguments: str) -> None:
        own = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(self.program), *arguments], env=os.environ | own, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DemoError(
                f"helm {' '.join(arguments)}: {done.stderr.strip() or exit_in_words(self.program, done.returncode)}"
            )
