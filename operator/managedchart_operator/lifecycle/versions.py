"""Compares chart versions: whether a change crosses one that breaks something, and whether one is in a range."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import semver

from managedchart_operator.errors import LifecycleError


def crosses(*, installed: str, breaking: str, new: str) -> bool:
    """Whether going from `installed` to `new` passes the `breaking` version: installed < breaking <= new.

    A downgrade, or an upgrade that stays below it, does not: an uninstall would destroy without need.
    Raises LifecycleError for what is not a version.
    """
    return _version(installed) < _version(breaking) <= _version(new)


def _version(text: str) -> semver.Version:
    """Read a version as Helm does: Semantic Versioning 2, but a leading v and missing parts are allowed."""
    try:
        return semver.Version.parse(text.removeprefix("v"), optional_minor_and_patch=True)
    except ValueError as error:
        raise LifecycleError(
            f'"{text}" is not a semantic version, so it cannot be compared with another one',
            transient=False,
        ) from error


RANGE_LENGTH = 256
"""Longest range, in characters."""
_VERSION = r"v?[0-9]+([.][0-9]+)?([.][0-9]+)?([-+][-+.0-9A-Za-z]+)?"
_COMPARISON = rf"(=|!=|>|>=|<|<=)? *{_VERSION}"
RANGE = rf"^ *{_COMPARISON}((,| |[|][|])+{_COMPARISON})* *$"
"""What a range looks like; `VersionRange.parse` refuses what only looks like one."""
RANGE_FORM = 'write a range of versions like ">=1.2 <2" or "1.4 || >=2.1", with =, !=, >, >=, < and <='
_PART = re.compile(r"(=|!=|>=|>|<=|<)? *([^ ,|<>=!]+)")
_NUMBERS = 3


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One comparison. A version of fewer than three numbers stands for all that begin so: `first` to before `after`."""

    sign: str
    first: semver.Version
    after: semver.Version | None

    def holds(self, version: semver.Version) -> bool:
        below = version < self.first
        above = version > self.first if self.after is None else version >= self.after
        match self.sign:
            case "=":
                return not below and not above
            case "!=":
                return below or above
            case ">":
                return above
            case ">=":
                return not below
            case "<":
                return below
            case _:
                return not above


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A range of chart versions: comparisons that all hold, between commas or spaces, and alternatives between ||.

    A part of what Helm understands, with its meaning: 1.2 stands for every 1.2.x. Two things differ: there is no ^, ~, x or
    hyphen, and a pre-release is a version like others (2.0.0-rc.1 is below 2.0.0, and not below 2), so that nobody leaves a
    range by deploying one.
    """

    text: str
    alternatives: tuple[tuple[_Comparison, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a range. Raises ValueError that names its form."""
        if not re.fullmatch(RANGE, text):
            raise ValueError(RANGE_FORM)
        return cls(text, tuple(tuple(_comparisons(part)) for part in text.split("||")))

    def contains(self, version: str) -> bool:
        """Whether a version is in the range. Raises LifecycleError for what is not a version."""
        found = _version(version)
        return any(all(each.holds(found) for each in part) for part in self.alternatives)

    def __str__(self) -> str:
        return self.text


def _comparisons(text: str) -> Iterator[_Comparison]:
    parts = _PART.findall(text)
    if not parts:
        raise ValueError(RANGE_FORM)
    for sign, version in parts:
        first, after = _block(version)
        yield _Comparison(sign or "=", first, after)


def _block(text: str) -> tuple[semver.Version, semver.Version | None]:
    """Return the first version that a text stands for, and the first one after those; None if it is the only one."""
    try:
        found = semver.Version.parse(text.removeprefix("v"), optional_minor_and_patch=True)
    except ValueError as error:
        raise ValueError(f'"{text}" is not a version: {RANGE_FORM}') from error
    numbers = len(re.split(r"[-+]", text, maxsplit=1)[0].split("."))
    if numbers == _NUMBERS or found.prerelease:
        return found, None
    after = found.bump_major() if numbers == 1 else found.bump_minor()
    return found.replace(prerelease="0"), after.replace(prerelease="0")


def is_exact(version: str) -> bool:
    """Whether a version in a spec is one version, and not a constraint."""
    return semver.Version.is_valid(version.removeprefix("v"))


def is_in(versions: VersionRange, version: str) -> bool:
    """Whether a version is in a range; a text that is not a version is in each, so that nobody leaves one by it."""
    try:
        return versions.contains(version)
    except LifecycleError:
        return True
