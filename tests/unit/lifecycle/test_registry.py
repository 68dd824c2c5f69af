"""How a lifecycle is found by its name; plug-ins are real packages on the path."""

from pathlib import Path

import pytest

from managedchart_operator.errors import SpecError
from managedchart_operator.lifecycle.aws_vpc_cni import AwsVpcCni
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reasons import Reason

MODULE = """
from managedchart_operator.lifecycle.base import Lifecycle

class Loki(Lifecycle):
    pass

class NotOne:
    pass
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that provides a valid lifecycle and broken ones."""
    (tmp_path / "loki_plugin.py").write_text(MODULE)
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "exiting_plugin.py").write_text("import sys\nsys.exit('no licence')")
    info = tmp_path / "loki_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loki-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[managedchart.lifecycles]\n"
        "loki = loki_plugin:Loki\n"
        "not-one = loki_plugin:NotOne\n"
        "no-class = loki_plugin:__name__\n"
        "gone = loki_plugin:Gone\n"
        "broken = broken_plugin:Any\n"
        "exiting = exiting_plugin:Any\n"
        "default = loki_plugin:Loki\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("default", Lifecycle), ("prometheus-operator", PrometheusOperator), ("aws-vpc-cni", AwsVpcCni)],
)
def test_built_in_lifecycles_are_found(name: str, expected: type[Lifecycle]) -> None:
    assert type(find_lifecycle(name)) is expected


def test_each_call_returns_a_new_lifecycle() -> None:
    assert find_lifecycle("default") is not find_lifecycle("default")


def test_an_unknown_name_lists_the_available_lifecycles() -> None:
    with pytest.raises(SpecError) as raised:
        find_lifecycle("prometheus")
    assert raised.value.reason is Reason.LIFECYCLE_UNKNOWN
    assert not raised.value.transient
    assert raised.value.message == (
        'spec.lifecycle.name: unknown lifecycle "prometheus"; '
        "this operator has: default, prometheus-operator, aws-vpc-cni"
    )


@pytest.mark.usefixtures("plugins")
def test_an_installed_package_provides_a_lifecycle() -> None:
    assert type(find_lifecycle("loki")).__name__ == "Loki"


@pytest.mark.usefixtures("plugins")
def test_an_unknown_name_lists_the_plugins_too() -> None:
    with pytest.raises(SpecError, match=r"this operator has: default, .*loki"):
        find_lifecycle("loky")


@pytest.mark.usefixtures("plugins")
def test_a_plugin_cannot_replace_a_built_in_lifecycle() -> None:
    assert type(find_lifecycle("default")) is Lifecycle


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", 'the lifecycle "broken" cannot be loaded: RuntimeError: no licence'),
        ("exiting", 'the lifecycle "exiting" cannot be loaded: SystemExit: no licence'),
        ("gone", 'the lifecycle "gone" cannot be loaded: AttributeError: .*Gone'),
        ("not-one", 'the entry point "not-one" is not a subclass of Lifecycle'),
        ("no-class", 'the entry point "no-class" is not a subclass of Lifecycle'),
    ],
)
def test_a_broken_plugin_is_reported(name: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem) as raised:
        find_lifecycle(name)
    assert raised.value.reason is Reason.LIFECYCLE_UNKNOWN
