"""Finds a lifecycle by its name: built-in ones, and plug-ins from installed packages.

A package provides one by an entry point in the group `managedchart.lifecycles` whose value is a subclass of `Lifecycle`. A
plug-in is imported at its first use.
Source: Python Packaging User Guide, "Entry points".
"""

from importlib.metadata import entry_points

from managedchart_operator.errors import SpecError
from managedchart_operator.lifecycle.aws_vpc_cni import AwsVpcCni
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator
from managedchart_operator.reasons import Reason

ENTRY_POINT_GROUP = "managedchart.lifecycles"
BUILT_IN: dict[str, type[Lifecycle]] = {
    "default": Lifecycle,
    "prometheus-operator": PrometheusOperator,
    "aws-vpc-cni": AwsVpcCni,
}


def find_lifecycle(name: str) -> Lifecycle:
    """Return a new lifecycle of this name. Raises SpecError (LIFECYCLE_UNKNOWN) that lists the available ones."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in plugins:
        known = ", ".join([*BUILT_IN, *sorted(plugins)])
        raise SpecError(
            f'spec.lifecycle.name: unknown lifecycle "{name}"; this operator has: {known}',
            reason=Reason.LIFECYCLE_UNKNOWN,
            hint="Correct the name, or install the package of the lifecycle into the operator's image.",
        )
    try:
        found = plugins[name].load()
        lifecycle = found() if isinstance(found, type) and issubclass(found, Lifecycle) else None
    except (Exception, SystemExit) as error:  # neither an error at import nor a sys.exit() may end the operator
        raise _broken(f'the lifecycle "{name}" cannot be loaded: {type(error).__name__}: {error}') from error
    if lifecycle is None:
        raise _broken(f'the entry point "{name}" is not a subclass of Lifecycle')
    return lifecycle


def _broken(problem: str) -> SpecError:
    return SpecError(
        f"spec.lifecycle.name: {problem}",
        reason=Reason.LIFECYCLE_UNKNOWN,
        hint="Correct the package of the lifecycle, and restart the operator.",
    )
