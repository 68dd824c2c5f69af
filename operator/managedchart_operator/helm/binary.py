"""The helm program: is it there, is it new enough, and what environment does it get.

Boundary: looks, never installs. Invariant: helm sees nothing of the operator's environment but what is listed here.
"""

import asyncio
import os
import re
import shutil
from pathlib import Path

from managedchart_operator.errors import StartupError

# Server-side apply by default, the event-driven wait and the labels of `--labels` were measured with this line of helm.
OLDEST_VERSION = (4, 3, 0)
NEXT_MAJOR = 5
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
    }


async def check_version(binary: str) -> str:
    """Return helm's version. Raises StartupError, in words, when helm is missing, broken or of an unfitting version."""
    path = await asyncio.to_thread(shutil.which, binary)
    if path is None:
        raise StartupError(
            f'helm is missing: there is no program "{binary}"; set MANAGEDCHART_HELM_BINARY or put it on PATH'
        )
    try:
        async with asyncio.timeout(_VERSION_SECONDS):
            process = await asyncio.create_subprocess_exec(
                path,
                "version",
                "--template={{.Version}}",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            stdout, _ = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise StartupError(f"helm cannot be run ({path}): {error or 'no answer'}") from error
    text = stdout.decode(errors="replace").strip()
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if process.returncode != 0 or not found:
        raise StartupError(
            f"helm ({path}) does not tell its version: exit code {process.returncode}, output {text[:80]!r}"
        )
    version = tuple(map(int, found.groups()))
    if version < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise StartupError(f"helm {text} is too old ({path}): this operator needs {oldest} or newer")
    if version[0] >= NEXT_MAJOR:
        raise StartupError(f"helm {text} is of a major version that this operator does not know ({path}): use helm 4")
    return text
