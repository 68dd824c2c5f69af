"""What happens to fields that a chart sets and another field manager holds: `spec.conflicts`.

Only the shape; `reconcile.left_fields` finds the fields.
Source: Kubernetes documentation, "Server-Side Apply", conflicts and field managers.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.api.schema import ApiModel, matches, rules

WHOSE_FIELDS = "name at least one of subresource, managers and paths"
SUBRESOURCE_OR_MANAGERS = "set subresource or managers, not both"
# RFC 6901, with * for any step.
_POINTER = r"^(/([^/~]|~[01])+)+$"

Manager = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Pointer = Annotated[
    str,
    Field(
        min_length=2,
        max_length=1024,
        pattern=_POINTER,
        json_schema_extra=matches(
            _POINTER, "write a JSON pointer like /spec/replicas; * is any step, ~1 is a slash, ~0 a tilde"
        ),
    ),
]


class ConflictPolicy(StrEnum):
    """What helm does about a field of another manager that is not left to it."""

    FORCE = "Force"
    FAIL = "Fail"


class LeftToManager(ApiModel):
    """Fields that are left to another manager while it owns them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.subresource) || has(self.managers) || has(self.paths)", WHOSE_FIELDS),
            ("!(has(self.subresource) && has(self.managers))", SUBRESOURCE_OR_MANAGERS),
        )
    )

    subresource: str | None = Field(default=None, min_length=1, max_length=63)
    """Fields that a manager set through this subresource, like scale."""
    managers: list[Manager] | None = Field(default=None, min_length=1, max_length=16)
    """Names of the managers in metadata.managedFields; default every manager except Helm."""
    target: ObjectSelector | None = None
    """Only fields of these objects; default all objects of the release."""
    paths: list[Pointer] | None = Field(default=None, min_length=1, max_length=64)
    """These fields and all below them, as JSON pointers in which * is any step, like /webhooks/*/clientConfig/caBundle."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        """Check the rules above where no API server has."""
        if self.subresource is None and self.managers is None and self.paths is None:
            raise ValueError(WHOSE_FIELDS)
        if self.subresource is not None and self.managers is not None:
            raise ValueError(SUBRESOURCE_OR_MANAGERS)
        return self


class Conflicts(ApiModel):
    """Whose value wins if the chart sets a field that another manager owns."""

    policy: ConflictPolicy = ConflictPolicy.FORCE
    """Force: Helm takes the field over. Fail: the deployment fails. Neither applies to the fields in leave."""
    leave: list[LeftToManager] = Field(default_factory=list, max_length=32)
    """Fields that are left to their managers, besides the number of replicas that an autoscaler or kubectl scale has set."""
