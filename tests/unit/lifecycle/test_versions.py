"""When a change of version crosses a breaking version."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle.versions import VersionRange, crosses, is_exact, is_in


@pytest.mark.parametrize(
    ("installed", "breaking", "new", "expected"),
    [
        ("1.0.0", "2.0.0", "2.0.0", True),
        ("1.0.0", "2.0.0", "3.1.0", True),
        ("1.9.9", "2.0.0", "2.0.1", True),
        ("1.0.0", "2.0.0", "1.9.0", False),  # stays below
        ("2.0.0", "2.0.0", "2.1.0", False),  # has crossed it before
        ("3.0.0", "2.0.0", "1.0.0", False),  # a downgrade
        ("2.0.0", "2.0.0", "2.0.0", False),  # no change
        ("9.0.0", "10.0.0", "10.0.0", True),  # numbers, not texts
        ("v1.0.0", "2.0.0", "v2.0.0", True),
        ("1.0.0", "2", "2.0.0", True),
        ("1.0.0", "v1.2", "1.2.0", True),
        ("1.2.0", "1.2", "1.3.0", False),
        ("2.0.0-rc.1", "2.0.0", "2.0.0", True),  # a pre-release is older than its release
        ("1.0.0", "2.0.0", "2.0.0-rc.1", False),
        ("1.0.0", "2-rc.1", "2.0.0-rc.2", True),
        ("1.0.0+a", "1.0.0", "1.0.0+b", False),  # build metadata has no order
        ("1", "1.5+b", "2.0+a-b.c", True),
    ],
)
def test_crosses(*, installed: str, breaking: str, new: str, expected: bool) -> None:
    assert crosses(installed=installed, breaking=breaking, new=new) is expected


@pytest.mark.parametrize("wrong", ["latest", "1.x", "", "1.0.0.0", "01.0.0"])
def test_an_invalid_version_is_an_error(wrong: str) -> None:
    with pytest.raises(LifecycleError, match="is not a semantic version") as raised:
        crosses(installed=wrong, breaking="1.0.0", new="2.0.0")
    assert not raised.value.transient


triple = st.tuples(*[st.integers(0, 20)] * 3)


def text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


@given(triple, triple, triple)
def test_crosses_means_from_below_to_it_or_above(
    installed: tuple[int, int, int], breaking: tuple[int, int, int], new: tuple[int, int, int]
) -> None:
    expected = installed < breaking <= new
    assert crosses(installed=text(installed), breaking=text(breaking), new=text(new)) is expected


@given(triple, st.lists(triple, min_size=1, max_size=6))
def test_a_chain_of_upgrades_crosses_once(breaking: tuple[int, int, int], versions: list[tuple[int, int, int]]) -> None:
    """An upgrade through any number of versions reinstalls at most once."""
    path = sorted(versions)
    steps = [crosses(installed=text(a), breaking=text(breaking), new=text(b)) for a, b in pairwise(path)]
    assert sum(steps) == (path[0] < breaking <= path[-1])


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.2.3", "1.2.3 v1.2.3 1.2.3+build", "1.2.4 1.2.3-rc.1"),
        ("=1.2.3", "1.2.3", "1.2.2"),
        ("1.2", "1.2.0 1.2.9 1.2.0-rc.1", "1.3.0 1.1.9 1.3.0-rc.1"),
        ("v1", "1.0.0 1.9.9", "0.9.0 2.0.0 2.0.0-rc.1"),
        ("!=1.2", "1.3.0 1.1.0", "1.2.7"),
        (">1.2", "1.3.0 1.3.0-rc.1", "1.2.9"),
        (">1.2.3", "1.2.4 1.3.0", "1.2.3"),
        (">=1.2 <2", "1.2.0 1.9.9 1.9.0-rc.1", "1.1.9 2.0.0 2.0.0-rc.1"),
        (">=1.2.0, <2.0.0", "1.2.0 2.0.0-rc.1", "1.2.0-rc.1 2.0.0"),
        ("<=1.2", "1.2.9 1.0.0", "1.3.0"),
        ("< 1.2", "1.1.9", "1.2.0 1.2.0-rc.1"),
        ("1.2 || >=2.1,<3", "1.2.5 2.1.0", "1.3.0 2.0.0 3.0.0"),
        (">=1.0.0-rc.2", "1.0.0-rc.2 1.0.0-rc.10 1.0.0", "1.0.0-rc.1"),
    ],
)
def test_ranges(text: str, inside: str, outside: str) -> None:
    versions = VersionRange.parse(text)

    assert [each for each in inside.split() if not versions.contains(each)] == []
    assert [each for each in outside.split() if versions.contains(each)] == []


@pytest.mark.parametrize(
    "wrong",
    ["", " ", "latest", "1.x", "^1.2", "~1", ">=", "1.2.3.4", ">=01", "1 - 2", "|| 1", "1 ||", "1 || || 2", ">>1"],
)
def test_a_range_of_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="write a range of versions like"):
        VersionRange.parse(wrong)


def test_what_is_no_version_is_in_each_range() -> None:
    """A chart that has none cannot leave a range that an administrator has written."""
    assert is_in(VersionRange.parse(">=9"), "latest")
    assert not is_in(VersionRange.parse(">=9"), "1.0.0")


@pytest.mark.parametrize(
    ("version", "exact"), [("1.2.3", True), ("v1.2.3", True), ("1.2", False), ("1.x", False), (">=1.2.3", False)]
)
def test_an_exact_version_is_known_before_the_chart_is_fetched(version: str, *, exact: bool) -> None:
    assert is_exact(version) is exact
