"""The built-in lifecycles by their names; `plugins.catalog` has those of plug-ins, which cannot take a built-in name."""

from managedchart_operator.lifecycle.aws_vpc_cni import AwsVpcCni
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator

ENTRY_POINT_GROUP = "managedchart.lifecycles"
"""The group of the entry points by which an installed package provides lifecycles."""

BUILT_IN: dict[str, type[Lifecycle]] = {
    "default": Lifecycle,
    "prometheus-operator": PrometheusOperator,
    "aws-vpc-cni": AwsVpcCni,
}


def find_lifecycle(name: str) -> Lifecycle:
    """Return a new built-in lifecycle. Raises KeyError for another name."""
    return BUILT_IN[name]()
