"""The real helm, for tests that compare the operator's reading of values and errors with helm's."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from managedchart_operator.helm.memory_files import FileArgument, memory_files

ROOT = Path(__file__).parents[3]
CHARTS = ROOT / "tests" / "charts"


class HelmRefusedError(Exception):
    """helm ended with an error."""


@pytest.fixture
def helm_values(helm_binary: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return the values that reach the templates with the real helm.

    Keywords: `source` for --values, `sets` for --set, `arguments` for others.
    """

    def ask(
        *, source: bytes = b"", sets: Sequence[str] = (), arguments: Sequence[str | FileArgument] = ()
    ) -> dict[str, Any]:
        command = [
            helm_binary,
            "template",
            "x",
            str(CHARTS / "print-values"),
            FileArgument("--values", source, "source"),
        ]
        with memory_files([*command, *(f"--set={entry}" for entry in sets), *arguments]) as files:
            done = subprocess.run(
                files.arguments,
                pass_fds=tuple(files.origins),
                capture_output=True,
                env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                check=False,
                timeout=60,
            )
            if done.returncode:
                raise HelmRefusedError(files.with_origins(done.stderr.decode(errors="replace")))
        manifest = yaml.safe_load(done.stdout)
        result: dict[str, Any] = json.loads(b64decode(manifest["data"]["values"]))
        return result

    return ask
