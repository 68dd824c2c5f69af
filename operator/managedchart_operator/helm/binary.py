"""Checks the helm program at start, and builds the environment that it runs in.

helm sees only those variables of the operator's environment that are listed here. Nothing is installed.
"""

import asyncio
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from managedchart_operator.errors import StartupError
from managedchart_operator.helm import post_renderer
from managedchart_operator.helm.child_limits import ChildLimits
from managedchart_operator.helm.process import HelmProcess

# Server-side apply by default, the event-driven wait and the labels of `--labels` were measured with this line of helm.
OLDEST_VERSION = (4, 3, 0)
NEXT_MAJOR = 5
# helm prints its version within 0.1 s; a node that has just started and still reads the image needs longer.
_VERSION_SECONDS = 20.0
# What helm needs to reach the API server and chart sources, as Go programs read it.
_PASSED_ON = (
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GOMAXPROCS",
    "GOGC",
    "GOMEMLIMIT",
)


def environment(home: Path) -> dict[str, str]:
    """Return helm's environment; all its files live below `home`."""
    passed = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    return {
        # Twice the default: 12 % less CPU for an install, for 16 MiB more while helm waits (measured with 4.3.1).
        "GOGC": "200",
        **passed,
        "HOME": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "TMPDIR": str(home),
        "KUBECACHEDIR": str(home / "kube"),
        "HELM_CACHE_HOME": str(home / "cache"),
        "HELM_CONFIG_HOME": str(home / "config"),
        "HELM_DATA_HOME": str(home / "data"),
        "HELM_DRIVER": "secret",
        "HELM_COLOR": "never",
        "HELM_PLUGINS": str(post_renderer.PLUGINS),
        post_renderer.PYTHON: sys.executable,
    }


async def check_version(binary: str, limits: ChildLimits | None = None) -> str:
    """Return helm's version. Raises StartupError when helm is missing, broken or of an unsupported version.

    `limits` are those within which it has to run later.
    """
    limits = limits or ChildLimits()
    path = await asyncio.to_thread(shutil.which, binary)
    if path is None:
        raise StartupError(
            f'Helm is missing: there is no program "{binary}"',
            hint="Set MANAGEDCHART_HELM_BINARY to the path of helm, or put helm on PATH.",
        )
    try:
        process = await HelmProcess.start(
            [path, "version", "--template={{.Version}}"],
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            keep_stdout=True,
            on_start=partial(limits.apply_to, memory=limits.memory_of(applies=False)),
        )
        # It has nothing to finish, so it needs no grace.
        await process.finish(_VERSION_SECONDS, grace=0)
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_VERSION_SECONDS:.0f} s"
        raise StartupError(f"Helm cannot be run ({path}): {why}") from error
    text = process.stdout.decode(errors="replace").strip()
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if process.exit_code != 0 or not found:
        raise StartupError(
            f"Could not determine the version of helm ({path}): exit code {process.exit_code}, output {text[:80]!r}"
        )
    version = tuple(map(int, found.groups()))
    if version < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise StartupError(f"Helm {text} is too old ({path}): this operator needs {oldest} or newer")
    if version[0] >= NEXT_MAJOR:
        raise StartupError(f"Helm {text} has a major version that this operator does not support ({path}): use Helm 4")
    return text
