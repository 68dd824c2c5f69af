"""Reads what `helm test --logs` prints: which tests have passed and failed, and the logs of their pods.

The output is the status of the release, with the notes of the chart, so only its form tells the tests apart.
Source: helm 4.3.1, recorded in tests/unit/helm/test_tested.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SUITE = re.compile(
    r"^TEST SUITE:[ ]+(?P<name>\S+)\nLast Started:.*\nLast Completed:.*\nPhase:[ ]+(?P<phase>\S+)", re.MULTILINE
)
_LOGS = re.compile(r"^POD LOGS: (?P<pod>\S+) \((?P<container>\S+)\)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tested:
    """The tests of one run."""

    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    logs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By pod and container."""


def read_tested(output: str) -> Tested:
    """Return the tests in helm's standard output, and their logs."""
    report, *_ = _LOGS.split(output, maxsplit=1)
    phases = {found["name"]: found["phase"] for found in _SUITE.finditer(report)}
    pieces = list(_LOGS.finditer(output))
    ends = [piece.start() for piece in pieces[1:]] + [len(output)] * bool(pieces)
    return Tested(
        tuple(name for name, phase in phases.items() if phase == "Succeeded"),
        tuple(name for name, phase in phases.items() if phase == "Failed"),
        {
            (piece["pod"], piece["container"]): output[piece.end() : end].strip()
            for piece, end in zip(pieces, ends, strict=True)
        },
    )
