"""Which process runs which tests: what uses the same cluster together, and what takes longest first.

pytest-xdist gives each process the next file when it has nearly finished the one before. In the order of its own, by the number
of tests, the files with one test of a minute come last, and the others wait for the process that has got them. A file that
is not listed here is run all the same: after those that are, in the order of its name.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "tests/hostile/": "hostile",
    "tests/devcluster/": "devcluster",
    "tests/e2e/engine/test_deep_specs.py": "own cluster",
    "tests/e2e/engine/test_missing_permissions.py": "own cluster",
    "tests/e2e/engine/test_restart.py": "own cluster",
    "tests/e2e/engine/test_waiting.py": "own cluster",
    "tests/e2e/lifecycles/test_killed_actions.py": "own cluster",
}
"""Files and folders that share a cluster besides the one that every process has, so that it is created once."""

LONGEST_FIRST = (
    "hostile",
    "tests/e2e/removal/test_crd_removal.py",
    "own cluster",
    "tests/e2e/removal/test_removal_page.py",
    "tests/e2e/deploy/test_profiles.py",
    "tests/e2e/deploy/test_chart.py",
    "devcluster",
    "tests/e2e/test_examples.py",
    "tests/e2e/engine/test_unknown_kinds.py",
    "tests/e2e/engine/test_readiness.py",
    "tests/e2e/diagnosis/test_causes.py",
    "tests/e2e/test_chaos_short.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/fields/test_left_fields.py",
    "tests/e2e/lifecycles/test_heavy_verbs.py",
    "tests/e2e/test_crd.py",
    "tests/e2e/bad_input/test_start.py",
    "tests/e2e/lifecycles/test_builtin_profiles.py",
    "tests/e2e/test_costs.py",
    "tests/e2e/fields/test_helm_options.py",
    "tests/e2e/lifecycles/test_plugins.py",
    "tests/e2e/diagnosis/test_api_unavailable.py",
    "tests/e2e/diagnosis/test_lifecycle_failures.py",
)
"""What probably takes longest, first; partly measured, partly estimated. A wrong place costs time and nothing else."""


def unit_of(test: str) -> str:
    """Return the name of what one process runs as a whole: of tests that belong together, or else the file of a test."""
    file = test.partition("::")[0]
    return next((name for path, name in TOGETHER.items() if file.startswith(path)), file)


def place_of(test: str) -> tuple[int, int]:
    """Return where a test comes among all: tests without a cluster fill the gaps at the end."""
    unit = unit_of(test)
    return (
        2 if unit.startswith("tests/unit/") else 0,
        LONGEST_FIRST.index(unit) if unit in LONGEST_FIRST else len(LONGEST_FIRST),
    )


def sort(tests: list[pytest.Item]) -> None:
    """Sort tests as they are to be distributed; each process does it, since xdist wants all of them to have one order."""
    tests.sort(key=lambda test: place_of(test.nodeid))


class Distribution(LoadScopeScheduling):
    """Distributes the units of work in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def missing(repository: Path, names: Sequence[str] = (*TOGETHER, *LONGEST_FIRST)) -> list[str]:
    """Return the files and folders named above that do not exist."""
    return [name for name in names if name.startswith("tests/") and not (repository / name).exists()]
