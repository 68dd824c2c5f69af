"""The shape of a LifecycleProfile: its names in the API, spec and status.

The actions are those of `spec.lifecycle.actions` of a ManagedChart; `lifecycle.definitions` puts their schema into both CRDs.
"""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from managedchart_operator.api.earlier_status import StatusModel
from managedchart_operator.api.lifecycle import RawActions, Revalidation
from managedchart_operator.api.resource import GROUP
from managedchart_operator.api.schema import ApiModel, matches, rules
from managedchart_operator.api.status import Condition
from managedchart_operator.lifecycle.actions.targets import Selector
from managedchart_operator.lifecycle.versions import RANGE, RANGE_FORM, RANGE_LENGTH, VersionRange

KIND = "LifecycleProfile"
PLURAL = "lifecycleprofiles"
DEFINITION = f"{PLURAL}.{GROUP}"
"""The name of the CustomResourceDefinition."""

ACCEPTED = "Accepted"
"""The condition that says whether a profile can be carried out."""

SOME_CONDITION = (
    'match needs at least one condition: set chartNames, namespaces or labels; chartNames: ["*"] matches every chart'
)
VERSIONS_OF_CHARTS = (
    "versions goes with chartNames, since versions of different charts have nothing to do with each other"
)
SOME_NAMESPACE = "set names, selector or both"
_GLOB = r"^[-A-Za-z0-9_.*?]+$"
_GLOB_FORM = 'write a name, in which "*" stands for any characters and "?" for one, like cert-manager or team-*'
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

Glob = Annotated[str, Field(min_length=1, max_length=253, pattern=_GLOB, json_schema_extra=matches(_GLOB, _GLOB_FORM))]


class NamespaceMatch(ApiModel):
    """Which namespaces; both conditions hold if both are given."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("(has(self.names) && self.names.size() > 0) || has(self.selector)", SOME_NAMESPACE),
        )
    )

    names: list[Glob] = Field(default_factory=list, max_length=64)
    """Names of namespaces, with * and ?; one of them fits."""
    selector: Selector | None = None
    """Labels of the namespace."""

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if not self.names and self.selector is None:
            raise ValueError(SOME_NAMESPACE)
        return self


class Match(ApiModel):
    """Which ManagedCharts a profile is for, whatever their spec says; all given conditions hold."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.chartNames) && self.chartNames.size() > 0) || has(self.namespaces) || has(self.labels)",
                SOME_CONDITION,
            ),
            ("!has(self.versions) || (has(self.chartNames) && self.chartNames.size() > 0)", VERSIONS_OF_CHARTS),
        )
    )

    chart_names: list[Glob] = Field(default_factory=list, max_length=64)
    """Names of charts, with * and ?; one of them fits."""
    versions: str | None = Field(
        default=None,
        min_length=1,
        max_length=RANGE_LENGTH,
        pattern=RANGE,
        json_schema_extra=matches(RANGE, RANGE_FORM),
    )
    """Versions of the chart, like ">=1.2 <2"; alternatives between ||."""
    namespaces: NamespaceMatch | None = None
    """Namespaces of the ManagedCharts; their releases may be in others."""
    labels: Selector | None = None
    """Labels of the ManagedCharts."""

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if not self.chart_names and self.namespaces is None and self.labels is None:
            raise ValueError(SOME_CONDITION)
        if self.versions is not None:
            if not self.chart_names:
                raise ValueError(VERSIONS_OF_CHARTS)
            VersionRange.parse(self.versions)
        return self


class ProfileAccount(ApiModel):
    """A ServiceAccount."""

    name: str = Field(min_length=1, max_length=253, pattern=_DNS_SUBDOMAIN)
    """Name of the ServiceAccount."""
    namespace: str = Field(min_length=1, max_length=63, pattern=_DNS_LABEL)
    """Namespace of the ServiceAccount."""


class LifecycleProfileSpec(ApiModel):
    """Actions around the phases of charts that others own, and the charts that they are for."""

    description: str = Field(default="", max_length=1024)
    """What the profile is for."""
    match: Match | None = None
    """ManagedCharts that the profile is attached to; without it only to those that name it in spec.lifecycle.name."""
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000, strict=True)
    """Order of the actions of several profiles: the highest priority first, then by name."""
    lifecycle: str | None = Field(default=None, min_length=1, max_length=253)
    """Name of the built-in lifecycle or plug-in around which the actions run; by default that of the ManagedChart."""
    actions: RawActions = Field(default_factory=list)
    """Checks and steps around the phases, in this order, before those of the ManagedChart; see docs/lifecycles.md."""
    validation: Revalidation = Field(default_factory=Revalidation)
    """How often the actions of phase Validate run again, whatever the ManagedChart says."""
    service_account: ProfileAccount | None = None
    """Account as which the actions run, without anything that the ManagedChart contains; default the ManagedChart's."""


class LifecycleProfileStatus(StatusModel):
    """Whether the profile can be carried out."""

    observed_generation: int = 0
    """The newest generation of the spec that the operator has read."""
    conditions: list[Condition] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """Accepted."""
