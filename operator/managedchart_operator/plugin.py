"""What the author of a plug-in imports: the names in `__all__` are the API of plug-ins, see docs/plugins.md."""

from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.errors import HelmError, KubeError, LifecycleError, OperatorError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import ChartCrds, InstalledRelease, Operation, PhaseContext
from managedchart_operator.reasons import Reason

__all__ = [
    "Action",
    "ChartCrds",
    "HelmError",
    "InstalledRelease",
    "KubeError",
    "Lifecycle",
    "LifecycleError",
    "ManagedChartSpec",
    "ObjectRef",
    "Operation",
    "OperatorError",
    "Payload",
    "PhaseContext",
    "Reason",
]
