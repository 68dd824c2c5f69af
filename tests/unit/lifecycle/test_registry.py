"""How a built-in lifecycle is found by its name; plugins/test_catalog.py has those of plug-ins."""

import pytest

from managedchart_operator.lifecycle.aws_vpc_cni import AwsVpcCni
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator
from managedchart_operator.lifecycle.registry import find_lifecycle


@pytest.mark.parametrize(
    ("name", "expected"),
    [("default", Lifecycle), ("prometheus-operator", PrometheusOperator), ("aws-vpc-cni", AwsVpcCni)],
)
def test_built_in_lifecycles_are_found(name: str, expected: type[Lifecycle]) -> None:
    assert type(find_lifecycle(name)) is expected


def test_each_call_returns_a_new_lifecycle() -> None:
    assert find_lifecycle("default") is not find_lifecycle("default")
