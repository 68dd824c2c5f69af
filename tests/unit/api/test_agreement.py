"""The models accept the same specs as the CRD; tests/e2e/test_crd.py sends the same table to a real API server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from managedchart_operator.api.spec import SEMVER, ChartSource, ManagedChartSpec
from managedchart_operator.lifecycle.versions import crosses
from unit.api.cases import ACCEPTED, BEYOND_BOUNDS, PATH, REFUSED, Case


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepts(case: Case) -> None:
    spec = ManagedChartSpec.model_validate(case.spec)

    written = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert written == case.spec


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refuses(case: Case) -> None:
    with pytest.raises(ValidationError):
        ManagedChartSpec.model_validate(case.spec)


@pytest.mark.parametrize("case", BEYOND_BOUNDS, ids=str)
def test_reads_what_was_stored_before_the_bounds(case: Case) -> None:
    """The operator clamps it; a spec that it could not read would stall every such resource at an upgrade."""
    spec = ManagedChartSpec.model_validate(case.spec)

    assert spec.model_dump(mode="json", by_alias=True, exclude_unset=True) == case.spec


def test_names_of_cases_are_unique() -> None:
    """They become the names of objects and of tests."""
    names = [case.name for case in ACCEPTED + BEYOND_BOUNDS + REFUSED]

    assert sorted(names) == sorted(set(names))


def test_required_defaults() -> None:
    """The defaults that users rely on."""
    spec = ManagedChartSpec.model_validate({"chart": PATH})

    assert spec.action == "Deploy"
    assert (spec.atomic, spec.wait) == (True, True)
    assert (spec.force_upgrade, spec.dry_run) == (False, False)
    assert spec.last_breaking_version_requiring_restart is None
    assert spec.timeout == "180s"


def test_nulls_inside_values_are_kept() -> None:
    """helm removes a chart's default where a value is null."""
    values = {"nodeSelector": None, "deep": {"list": [None]}}

    assert ManagedChartSpec.model_validate({"chart": PATH, "values": values}).values == values


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "path": st.just("/charts/a"),
            "repository": st.just("https://host"),
            "name": st.just("a"),
            "oci": st.just("oci://host/a"),
            "contents": st.just("H4sI"),
            "version": st.just("1.0.0"),
            "plainHTTP": st.booleans(),
        },
    )
)
def test_a_chart_source_needs_fields_that_fit_together(chart: dict[str, object]) -> None:
    """Every combination of fields, against the rules in another form: which fields each source may have."""
    allowed = {
        "path": [set()],
        "repository": [{"name"}, {"name", "version"}],
        "oci": [set(), {"version"}, {"plainHTTP"}, {"version", "plainHTTP"}],
        "contents": [set()],
    }
    fits = any(source in chart and chart.keys() - {source} in rest for source, rest in allowed.items())

    try:
        ChartSource.model_validate(chart)
    except ValidationError:
        assert not fits
    else:
        assert fits


@given(st.lists(st.sampled_from(["", ".", "..", "a", "..a", "a..b"]), min_size=1, max_size=5))
def test_the_model_and_the_crd_accept_the_same_paths(parts: list[str]) -> None:
    """The rule: it starts with a slash, and no part between slashes is two dots."""
    path = "/".join(parts)
    fits = path.startswith("/") and ".." not in path.split("/")

    try:
        ChartSource.model_validate({"path": path})
    except ValidationError:
        assert not fits
    else:
        assert fits


@given(st.from_regex(SEMVER, fullmatch=True))
def test_an_accepted_breaking_version_can_be_compared(version: str) -> None:
    """Otherwise the mistake would only appear at the next upgrade, as a failed phase."""
    assert not crosses(installed=version, breaking=version, new=version)
