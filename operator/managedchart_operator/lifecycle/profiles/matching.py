"""Whether a profile is for a ManagedChart: by its name, or because it is attached by `match`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from managedchart_operator.lifecycle.actions.targets import Requirement, Selector
from managedchart_operator.lifecycle.profiles.model import Match
from managedchart_operator.lifecycle.profiles.profile import Profile
from managedchart_operator.lifecycle.profiles.subject import Subject
from managedchart_operator.lifecycle.versions import VersionRange, is_in


@dataclass(frozen=True, slots=True)
class Part:
    """A profile that takes part in the lifecycle of a ManagedChart."""

    profile: Profile
    versions: VersionRange | None = None
    """Only for charts of these versions; None if the version is known to fit, or does not matter."""


async def part_of(profile: Profile, subject: Subject) -> Part | None:
    """Return how a profile takes part in the lifecycle of a ManagedChart; None if it does not. Raises KubeError."""
    if profile.name == subject.lifecycle:
        return Part(profile)
    return await _attached(profile, profile.match, subject) if profile.match is not None else None


async def _attached(profile: Profile, match: Match, subject: Subject) -> Part | None:
    """Ask first what is known without a request."""
    if match.labels is not None and not selects(match.labels, subject.labels):
        return None
    places = match.namespaces
    if places is not None and places.names and not _fits(places.names, subject.namespace):
        return None
    if match.chart_names and not _fits(match.chart_names, await subject.chart_name()):
        return None
    if places is not None and places.selector and not selects(places.selector, await subject.namespace_labels()):
        return None
    if match.versions is None:
        return Part(profile)
    versions, version = VersionRange.parse(match.versions), await subject.chart_version()
    if version is None:
        return Part(profile, versions)
    return Part(profile) if is_in(versions, version) else None


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects something with these labels, as the API server decides it."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(each, labels) for each in selector.match_expressions
    )


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case _:
            return value is None


def _fits(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
