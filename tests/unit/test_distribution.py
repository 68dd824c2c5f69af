"""tests/harness/distribution.py names files that exist, and keeps together what shares a cluster."""

from conftest import REPOSITORY
from harness.distribution import LONGEST_FIRST, TOGETHER, missing, place_of, unit_of


def test_every_file_that_is_named_exists() -> None:
    assert missing(REPOSITORY) == []
    assert set(TOGETHER.values()) <= set(LONGEST_FIRST)


def test_who_uses_the_own_cluster_runs_in_one_process() -> None:
    folder = REPOSITORY / "tests" / "e2e"
    users = [file for file in folder.rglob("test_*.py") if "own_cluster: Cluster" in file.read_text()]
    assert {unit_of(str(file.relative_to(REPOSITORY))) for file in users} == {"own cluster"}


def test_the_longest_come_first_and_those_without_a_cluster_last() -> None:
    tests = [
        "tests/unit/test_a.py::test_a",
        "tests/e2e/test_new.py::test_a",
        "tests/e2e/test_examples.py::test_a",
        "tests/hostile/test_texts.py::test_a[b::c]",
    ]
    assert sorted(tests, key=place_of) == tests[::-1]
