"""The real helm, for tests that compare the operator's reading of values and errors with helm's."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import FileArgument, memory_files

ROOT = Path(__file__).parents[3]
CHARTS = ROOT / "tests" / "charts"
# Without Go's garbage collection, a process that ends at once takes a third less CPU.
QUICK = {"GOGC": "off"}


class HelmRefusedError(Exception):
    """helm ended with an error."""


@pytest.fixture(scope="session")
def helm_values(helm_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return the values that reach the templates with the real helm.

    Keywords: `source` for --values, `sets` for --set, `arguments` for others.
    """
    home = tmp_path_factory.mktemp("home")

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
                env={"PATH": "/usr/bin:/bin", "HOME": str(home), **QUICK},
                check=False,
                timeout=60,
            )
            if done.returncode:
                raise HelmRefusedError(files.with_origins(done.stderr.decode(errors="replace")))
        manifest = yaml.safe_load(done.stdout)
        result: dict[str, Any] = json.loads(b64decode(manifest["data"]["values"]))
        return result

    return ask


Case = TypeVar("Case", bound=Hashable)


def own_name(case: int, name: str) -> str:
    """Return a name, or a key that begins with it, that no other case has."""
    return f"{case}-{name}"


def own_names(case: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with names that no other case has."""
    return {own_name(case, name): value for name, value in values.items()}


def in_one_run(
    ask: Callable[[Mapping[int, Case]], dict[str, Any]], cases: Mapping[int, Case]
) -> dict[Case, dict[str, Any] | Exception]:
    """Return the values of each case with only one process of helm, which costs more than all that it reads.

    `ask` gets the values of several numbered cases, each by its `own_names`. If one of the cases is refused, each half is
    asked for again, so that only the refused case gets the error.
    """
    try:
        found = ask(cases)
    except (HelmRefusedError, ValuesError) as refused:
        numbers = list(cases)
        if len(numbers) == 1:
            return {cases[numbers[0]]: refused}
        halves = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        first, second = (in_one_run(ask, {number: cases[number] for number in half}) for half in halves)
        return first | second
    values: dict[Case, dict[str, Any] | Exception] = {
        case: {name.partition("-")[2]: value for name, value in found.items() if name.startswith(f"{number}-")}
        for number, case in cases.items()
    }
    assert sum(map(len, values.values())) == len(found)  # each value is one of a case
    return values
