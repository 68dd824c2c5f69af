"""For which ManagedCharts a LifecycleProfile is."""

from typing import Any

import pytest

from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.errors import KubeError
from managedchart_operator.lifecycle.actions.targets import Selector
from managedchart_operator.lifecycle.profiles.matching import part_of, selects
from managedchart_operator.lifecycle.profiles.model import Match
from managedchart_operator.reasons import Reason
from unit.lifecycle.profiles.samples import FakeCharts, FakeNamespaces, profile, subject, web

OCI = {"oci": "oci://registry.example.com/charts/web"}
PATH = {"path": "/charts/folder"}
CONTENTS = {"contents": "H4sIAAAA"}
EXACT = {"repository": "https://charts.example.com", "name": "web", "version": "1.4.2"}
LABELS = {"team": "a", "tier": "prod"}
NAMESPACE = {"team-a": {"env": "prod"}}


@pytest.mark.parametrize(
    ("match", "chart", "expected"),
    [
        ({"chartNames": ["web"]}, EXACT, True),
        ({"chartNames": ["api", "we?"]}, EXACT, True),
        ({"chartNames": ["w*"]}, OCI, True),
        ({"chartNames": ["Web"]}, EXACT, False),
        ({"chartNames": ["web-*"]}, EXACT, False),
        ({"chartNames": ["real"]}, PATH, True),  # the name in Chart.yaml, not that of the folder
        ({"chartNames": ["folder"]}, PATH, False),
        ({"chartNames": ["real"]}, CONTENTS, True),
        ({"chartNames": ["*"], "versions": ">=1.2 <2"}, EXACT, True),
        ({"chartNames": ["*"], "versions": ">=2"}, EXACT, False),
        ({"chartNames": ["*"], "versions": "3.0.1"}, PATH, True),
        ({"chartNames": ["*"], "versions": "<3"}, CONTENTS, False),
        ({"namespaces": {"names": ["team-*"]}}, EXACT, True),
        ({"namespaces": {"names": ["team-b"]}}, EXACT, False),
        ({"namespaces": {"selector": {"matchLabels": {"env": "prod"}}}}, EXACT, True),
        ({"namespaces": {"selector": {"matchLabels": {"env": "test"}}}}, EXACT, False),
        ({"namespaces": {"names": ["team-b"], "selector": {"matchLabels": {"env": "prod"}}}}, EXACT, False),
        ({"labels": {"matchLabels": {"tier": "prod"}}}, EXACT, True),
        ({"labels": {"matchLabels": {"tier": "prod", "team": "b"}}}, EXACT, False),
        ({"labels": {"matchLabels": {"tier": "prod"}}, "chartNames": ["api"]}, EXACT, False),
        ({"labels": {"matchLabels": {"tier": "prod"}}, "chartNames": ["web"]}, EXACT, True),
    ],
)
async def test_all_given_conditions_hold(match: dict[str, Any], chart: dict[str, Any], *, expected: bool) -> None:
    """One entry of a list of names fits."""
    about = subject(
        web(chart, labels=LABELS), FakeCharts(ChartMetadata("real", "3.0.1", None)), FakeNamespaces(NAMESPACE)
    )

    assert (await part_of(await profile("p", match=match), about) is not None) is expected


@pytest.mark.parametrize("version", [{}, {"version": "1.x"}, {"version": ">=1.0"}, {"version": "1.4"}])
async def test_a_constraint_is_decided_when_the_chart_is_fetched(version: dict[str, str]) -> None:
    """Before that only a constraint is known, so the actions are bound with the range."""
    chart = {"repository": "https://charts.example.com", "name": "web", **version}

    part = await part_of(await profile("p", match={"chartNames": ["web"], "versions": ">=2"}), subject(web(chart)))

    assert part is not None
    assert str(part.versions) == ">=2"


async def test_a_chart_that_cannot_be_read_has_no_name() -> None:
    """The run reports what is wrong with it."""
    named = await profile("p", match={"chartNames": ["?*"]})

    assert await part_of(named, subject(web(CONTENTS))) is None
    assert await part_of(await profile("p", match={"chartNames": ["folder"]}), subject(web(PATH))) is not None


async def test_a_profile_is_found_by_its_name() -> None:
    """Whatever it matches."""
    named = await profile("mine", match={"chartNames": ["api"]})

    assert await part_of(named, subject(web(lifecycle={"name": "mine"}))) is not None
    assert await part_of(named, subject(web(lifecycle={"name": "other"}))) is None
    assert await part_of(await profile("p"), subject(web())) is None


async def test_an_unreadable_spec_can_be_asked_about() -> None:
    broken = subject(web({"path": 7}, lifecycle="x"))

    assert await part_of(await profile("p", match={"chartNames": ["*"], "versions": "1"}), broken) is not None
    assert await part_of(await profile("p", match={"namespaces": {"names": ["team-a"]}}), broken) is not None


async def test_labels_of_a_namespace_are_read_once_for_many() -> None:
    namespaces = FakeNamespaces(NAMESPACE)
    about = subject(web(), namespaces=namespaces)
    wanted = await profile("p", match={"namespaces": {"selector": {"matchLabels": {"env": "prod"}}}})

    for _ in range(3):
        assert await part_of(wanted, about) is not None
    assert namespaces.reads == 1


async def test_labels_that_cannot_be_read_are_an_error() -> None:
    """A profile must not be left out because the API server does not answer."""
    error = KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
    about = subject(web(), namespaces=FakeNamespaces(error=error))

    with pytest.raises(KubeError):
        await part_of(await profile("p", match={"namespaces": {"selector": {"matchLabels": {"env": "x"}}}}), about)


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["a", "b"], True),
        ("In", ["b"], False),
        ("NotIn", ["b"], True),
        ("NotIn", ["a"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_expressions_of_selectors(operator: str, values: list[str], *, expected: bool) -> None:
    def selected(key: str) -> bool:
        expression = {"key": key, "operator": operator, "values": values}
        return selects(Selector.model_validate({"matchExpressions": [expression]}), LABELS)

    assert selected("team") is expected
    assert selected("absent") is (operator in ("NotIn", "DoesNotExist"))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, "match needs at least one condition"),
        ({"chartNames": []}, "match needs at least one condition"),
        ({"versions": ">=1"}, "at least one condition"),
        ({"labels": {"matchLabels": {"a": "b"}}, "versions": ">=1"}, "versions goes with chartNames"),
        ({"namespaces": {}}, "set names, selector or both"),
        ({"namespaces": {"selector": {}}}, "the selector matches everything"),
        ({"chartNames": ["a"], "versions": ">=01"}, "is not a version"),
        ({"chartNames": ["[ab]"]}, "String should match pattern"),
    ],
)
def test_a_match_that_is_not_clear_is_refused(match: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Match.model_validate(match)
