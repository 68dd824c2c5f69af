"""The real helm, for tests that hold our reading of values and errors to helm's own."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHARTS = ROOT / "tests" / "charts"


class HelmRefusedError(Exception):
    """helm ended with an error."""


@pytest.fixture
def helm_values(helm_binary: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Ask the real helm what values reach the templates. Keywords: `stdin` for --values -, `sets` for --set."""

    def ask(*, stdin: bytes = b"", sets: tuple[str, ...] = ()) -> dict[str, Any]:
        arguments = [helm_binary, "template", "x", str(CHARTS / "print-values"), "--values=-"]
        arguments += [f"--set={entry}" for entry in sets]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(arguments, input=stdin, capture_output=True, env=environment, check=False, timeout=60)
        if done.returncode:
            raise HelmRefusedError(done.stderr.decode(errors="replace"))
        manifest = yaml.safe_load(done.stdout)
        result: dict[str, Any] = json.loads(b64decode(manifest["data"]["values"]))
        return result

    return ask
