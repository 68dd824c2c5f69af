"""Settings from the environment: which are accepted, and the message for a wrong one."""

import re
from pathlib import Path

import pytest

from conftest import REPOSITORY
from managedchart_operator.app.cli import main
from managedchart_operator.app.settings import PREFIX, Settings, unknown_variables
from managedchart_operator.helm.limits import Limits


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer has set does not reach these tests."""
    for field in Settings.model_fields:
        monkeypatch.delenv(PREFIX + field.upper(), raising=False)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANAGEDCHART_CHART_ROOTS", '["/charts", "/more"]')
    monkeypatch.setenv("MANAGEDCHART_NAMESPACES", '["team-b", "team-a", "team-b"]')
    monkeypatch.setenv("MANAGEDCHART_CHART_SOURCES", '["https://charts.example.com/team", "oci://ghcr.io/team"]')
    monkeypatch.setenv("MANAGEDCHART_CHART_ADDRESSES", '["10.0.0.0/8", "any"]')
    monkeypatch.setenv("MANAGEDCHART_METRIC_SOURCES", '["https://thanos.example.com/team"]')
    monkeypatch.setenv("MANAGEDCHART_HTTP_PORT", "0")
    monkeypatch.setenv("MANAGEDCHART_LOG_FORMAT", "text")
    settings = Settings()
    assert settings.chart_roots == [Path("/charts"), Path("/more")]
    assert settings.scope.namespaces == ("team-b", "team-a")
    assert settings.chart_sources == ["https://charts.example.com/team", "oci://ghcr.io/team"]
    assert settings.chart_addresses == ["10.0.0.0/8", "any"]
    assert settings.metric_sources == ["https://thanos.example.com/team"]
    assert settings.http_port == 0
    assert settings.log_format == "text"


def test_chart_roots_may_be_for_each_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANAGEDCHART_CHART_ROOTS", '["/charts/shared", "/charts/{namespace}"]')
    assert Settings().chart_roots == [Path("/charts/shared"), Path("/charts/{namespace}")]


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As manifests leave them behind; an empty cache folder would be whatever folder the process stands in."""
    defaults = Settings()
    for field in Settings.model_fields:
        monkeypatch.setenv(PREFIX + field.upper(), "")
    assert Settings() == defaults


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CHART_ROOTS", "/charts", 'write a JSON list of folders, like ["/charts"'),
        ("CHART_ROOTS", '{"a": 1}', 'write a JSON list of folders, like ["/charts"'),
        ("CHART_ROOTS", '["/charts", 1]', 'write a JSON list of folders, like ["/charts"'),
        ("CHART_ROOTS", '["charts"]', "'charts' is not an absolute path"),
        ("CHART_ROOTS", '["/charts/{team}"]', "only {namespace} may be in braces"),
        ("CHART_ROOTS", '["/charts/x-{namespace}"]', "as the whole name of a folder"),
        ("CHART_ROOTS", '["/charts/{namespace}", "/charts"]', "'/charts' would give every namespace all folders of"),
        ("CHART_ROOTS", '["/", "/charts/{namespace}/a"]', "'/' would give every namespace all folders of"),
        ("NAMESPACE_SHARE", "0", "greater than 0"),
        ("NAMESPACE_SHARE", "1.5", "less than or equal to 1"),
        ("CROSS_NAMESPACE", "Deny", "'Allow' or 'Consent'"),
        ("NAMESPACES", "team-a", 'write a JSON list of names of namespaces, like ["team-a"'),
        ("NAMESPACES", '["Team_A"]', 'write a JSON list of names of namespaces, like ["team-a"'),
        ("NAMESPACES", '["a/../b"]', 'write a JSON list of names of namespaces, like ["team-a"'),
        ("CHART_SOURCES", "https://charts.example.com", 'write a JSON list of chart sources, like ["https://charts.'),
        ("CHART_SOURCES", '["charts.example.com"]', "'charts.example.com' is not a source like https://charts."),
        ("CHART_SOURCES", '["https://a@b.example.com"]', "it has a login"),
        ("CHART_ADDRESSES", "any", 'write a JSON list of ranges of addresses, like ["10.0.0.0/8"], or ["any"]'),
        ("CHART_ADDRESSES", '["10.0.0.1/8"]', "'10.0.0.1/8' is neither a range of addresses like 10.0.0.0/8"),
        ("METRIC_SOURCES", "https://thanos.example.com", 'write a JSON list of addresses, like ["https://thanos.'),
        ("METRIC_SOURCES", '["oci://ghcr.io"]', "'oci://ghcr.io' is not an address like https://thanos.example.com"),
        ("METRIC_SOURCES", '["https://a@thanos.example.com"]', "it has a login"),
        ("METRIC_SOURCES", '["https://thanos.example.com?a=b"]', "it has a query"),
        ("CACHE_DIR", "cache", "'cache' is not an absolute path"),
        ("HTTP_PORT", "http", "valid integer"),
        ("HTTP_PORT", "65536", "less than or equal to 65535"),
        ("APPLY_SLOTS", "0", "greater than or equal to 1"),
        ("HELM_MEMORY", "512", "write a number of MiB or GiB, like 512Mi or 1Gi"),
        ("HELM_MEMORY", "128Mi", "greater than or equal to 201326592"),
        ("RENDER_SECONDS", "0", "greater than 0"),
        ("HELM_PROCESSES", "-1", "greater than or equal to 1"),
        ("LOG_LEVEL", "TRACE", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOG_FORMAT", "xml", "'json' or 'text'"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    assert main(["run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {PREFIX}{name}: ")
    assert says in line
    assert "docs/settings.md" in line
    assert "Value error" not in line


def test_all_wrong_settings_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MANAGEDCHART_HTTP_PORT", "http")
    monkeypatch.setenv("MANAGEDCHART_LOG_LEVEL", "TRACE")
    assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert "MANAGEDCHART_HTTP_PORT" in said
    assert "MANAGEDCHART_LOG_LEVEL" in said


def test_an_unknown_setting_suggests_the_nearest_one() -> None:
    names = ["PATH", "MANAGEDCHART_CHART_ROOT", "MANAGEDCHART_HTTP_PORT", "MANAGEDCHART_ZZZ"]
    assert unknown_variables(names) == [
        "Unknown setting MANAGEDCHART_CHART_ROOT ignored; did you mean MANAGEDCHART_CHART_ROOTS?",
        "Unknown setting MANAGEDCHART_ZZZ ignored",
    ]


def test_the_settings_page_lists_exactly_the_settings() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    named = set(re.findall(r"^\| `(MANAGEDCHART_\w+)`", page, re.MULTILINE))
    assert named == {PREFIX + field.upper() for field in Settings.model_fields}


def test_memory_is_written_as_in_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANAGEDCHART_HELM_MEMORY", "1Gi")
    assert Settings().child_limits.memory == 1024**3


def test_a_pod_without_enough_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """S11: with numbers, since only a person can decide. It is no error: a pod that worked must not end with an upgrade."""
    monkeypatch.setenv("MANAGEDCHART_APPLY_SLOTS", "8")
    told = Settings().shortage(3 * 1024**3) or ""
    assert (
        "8 helm processes of 512 MiB, the operator and its workers may need 5342 MiB together, but there are only 3072"
        in told
    )
    monkeypatch.setenv("MANAGEDCHART_APPLY_SLOTS", "3")
    assert Settings().shortage(3 * 1024**3) is None


def test_plugins_are_a_part_of_the_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """S11: two processes of plug-ins take the memory of one apply slot."""
    monkeypatch.setenv("MANAGEDCHART_PLUGIN_DIR", str(tmp_path))
    monkeypatch.setenv("MANAGEDCHART_APPLY_SLOTS", "3")
    told = Settings().shortage(3 * 1024**3) or ""
    assert (
        "3 helm processes of 512 MiB, 2 processes of plug-ins of 256 MiB, the operator and its workers may need 3358 MiB"
        in told
    )
    monkeypatch.setenv("MANAGEDCHART_APPLY_SLOTS", "2")
    assert Settings().shortage(3 * 1024**3) is None


@pytest.mark.parametrize(("memory", "slots", "places"), [(3, 2, 2), (4, 4, 2), (8, 4, 10), (64, 4, 32)])
def test_processes_of_plugins_fit_into_a_pod(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: int, slots: int, places: int
) -> None:
    monkeypatch.setenv("MANAGEDCHART_PLUGIN_DIR", str(tmp_path))
    monkeypatch.setattr(Limits, "cpus", lambda _: 2.0)
    monkeypatch.setattr(Limits, "memory", lambda _: memory * 1024**3)
    settings = Settings()
    assert settings.apply_slots == slots
    assert settings.plugin_places(memory * 1024**3) == places
    assert settings.shortage(memory * 1024**3) is None
