"""Which lifecycle runs a chart, and which actions run around its phases: `spec.lifecycle`.

The actions are kept here as they were written. `lifecycle.actions` has the verbs with their schemas, reads the actions, and
reports what is wrong with them, because the API server stores also fields that it does not know: without that it would drop a
misspelt field, and a `delete` without its selector would delete more than its author wants.
"""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from managedchart_operator.api.duration import DURATION_PATTERN, DurationOrZero, seconds
from managedchart_operator.api.schema import ApiModel, cel_string, rules

MAX_ACTIONS = 32
"""How many actions one spec, or one LifecycleProfile, has at most."""

OPEN_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""The schema of an object that the API server stores as it was written."""

PHASES_OF_A_RUN = ("CheckPrerequisites", "PreExec", "PostExec")
"""The phases whose actions a run is for: a change of them is carried out by a run."""

SHORTEST = "10s"
"""The shortest interval between two validations: each of a tenant's resources may cost some requests."""
# What has no form of a duration would be an error of the second part, which hides the sentence.
_LONG_ENOUGH = (
    f"self.matches({cel_string(DURATION_PATTERN)})"
    f" && (!self.matches('[1-9]') || duration(self) >= duration('{SHORTEST}'))"
)
TOO_SHORT = f"every can be 0s for never, or at least {SHORTEST}, like 5m"

RawAction = Annotated[dict[str, Any], Field(json_schema_extra=OPEN_OBJECT)]
RawActions = Annotated[
    list[RawAction],
    Field(
        max_length=MAX_ACTIONS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]


class Revalidation(ApiModel):
    """How often the actions of phase Validate run again while the release matches the spec."""

    # So that the operator can report a misspelt field, whose absence would mean the default.
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})

    every: DurationOrZero = Field(
        default="5m",
        json_schema_extra=rules((_LONG_ENOUGH, TOO_SHORT)),
    )
    """How long after a validation the next one begins, give or take a tenth; 0s for never, else at least 10s."""
    failure_threshold: int = Field(default=3, ge=1, le=100, strict=True)
    """After how many failed validations in a row the resource is no longer Ready."""

    @property
    def seconds(self) -> float:
        """How long after a validation the next one begins, within the bound; 0 for never."""
        wanted = seconds(self.every)
        return max(wanted, seconds(SHORTEST)) if wanted else 0.0


class LifecycleRef(ApiModel):
    """Which lifecycle runs the chart, and what runs around its phases."""

    # Without its misspelt `actions` a chart would be deployed unchecked: Flux, for one, applies what the API server drops.
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})

    name: str = Field(default="default", min_length=1, max_length=253)
    """Name of a built-in lifecycle (default, prometheus-operator, aws-vpc-cni), of a plug-in or of a LifecycleProfile."""
    actions: RawActions = Field(default_factory=list)
    """Checks and steps around the phases, which run in this order; docs/lifecycles.md has each verb with an example."""
    validation: Revalidation = Field(default_factory=Revalidation)
    """How often the actions of phase Validate run again while the release matches the spec."""

    def of_a_run(self) -> Self:
        """Return the part that decides what a run does: without checks, which can change without a run, and removals."""
        counted = [each for each in self.actions if each.get("phase") in PHASES_OF_A_RUN]
        return self.model_copy(update={"actions": counted, "validation": Revalidation()})
