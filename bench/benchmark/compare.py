"""`make bench-compare`: what differs between two kept runs.

Seconds of two machines cannot be compared; ratios to the floor, and counts, can.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.results import FOLDER

# Below this, two runs of the same program differ by themselves.
NOISE = 0.1


class NothingToCompareError(Exception):
    """There are not two runs of the same kind and size."""


def newest_two(folder: Path = FOLDER, *, kind: str = "phases") -> tuple[Path, Path]:
    """Return the newest run and the one before it with as many releases, older first. Raises NothingToCompareError."""
    files = sorted(folder.glob(f"{kind}-*.json"))
    if files:
        n = json.loads(files[-1].read_text())["n"]
        for file in reversed(files[:-1]):
            if json.loads(file.read_text())["n"] == n:
                return file, files[-1]
    raise NothingToCompareError(f"{folder} does not hold two runs with the same number of releases; run `make bench`")


def compare(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return a table of all numbers of both runs; those that differ by more than the noise are marked."""
    lines = [f"{'':42} {'old':>12} {'new':>12} {'change':>8}"]
    if old.get("n") != new.get("n"):
        lines.insert(0, f"the runs are of {old.get('n')} and {new.get('n')} releases: compare the ratios only")
    known = dict(_numbers(old))
    for name, value in _numbers(new):
        if name in known:
            lines.append(f"{name:42} {known[name]:12.3f} {value:12.3f} {_change(known[name], value):>8}")
    return "\n".join(lines)


def _numbers(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in document.items():
        if name == "environment":
            continue
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)


def _change(old: float, new: float) -> str:
    if old == new:
        return ""
    if old == 0:
        return "new *"
    part = new / old - 1
    return f"{100 * part:+.0f} %" + (" *" if abs(part) > NOISE else "")
