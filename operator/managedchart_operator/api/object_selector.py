"""Selects objects of a release by group, kind, name and namespace.

Fields of the spec that are about single objects share this model. It is pure: the caller decides which objects it asks about,
and knows their namespaces. An object is the same in every version of its API, so the version of `apiVersion` does not count.
"""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from managedchart_operator.api.schema import ApiModel, matches, rules

_GROUP_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
API_VERSION_PATTERN = rf"^({_GROUP_NAME}/)?v[0-9][a-z0-9]*$"
_GROUP = rf"^({_GROUP_NAME})?$"

NAMES_NOTHING = "name at least one of apiVersion, group, kind, name and namespace"
GROUP_TWICE = "set apiVersion or group, not both"


class ObjectSelector(ApiModel):
    """Selects the objects that match every given field; at least one is needed, and an absent field matches everything."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.apiVersion) || has(self.group) || has(self.kind) || has(self.name) || has(self.namespace)",
                NAMES_NOTHING,
            ),
            ("!(has(self.apiVersion) && has(self.group))", GROUP_TWICE),
        )
    )

    api_version: str | None = Field(
        default=None,
        pattern=API_VERSION_PATTERN,
        max_length=317,  # a group of 253 characters, a slash, a version of 63
        json_schema_extra=matches(API_VERSION_PATTERN, "write apiVersion as in the manifest, like apps/v1 or v1"),
    )
    """API version of the objects, like apps/v1; only its group counts, so any version of the kind is selected."""
    group: str | None = Field(
        default=None,
        pattern=_GROUP,
        max_length=253,
        json_schema_extra=matches(_GROUP, 'write the group without its version, like apps; "" is the core group'),
    )
    """API group of the objects, like apps; "" is the core group."""
    kind: str | None = Field(default=None, min_length=1, max_length=63)
    """Kind of the objects, like Deployment."""
    name: str | None = Field(default=None, min_length=1, max_length=253)
    """Name of the object."""
    namespace: str | None = Field(default=None, min_length=1, max_length=63)
    """Namespace of the objects; it selects no object of a cluster-wide kind."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        """Check the rules above where no API server has."""
        if not self.model_dump(exclude_none=True):
            raise ValueError(NAMES_NOTHING)
        if self.api_version is not None and self.group is not None:
            raise ValueError(GROUP_TWICE)
        return self

    def matches(self, *, group: str, kind: str, namespace: str, name: str) -> bool:
        """Whether an object is selected; `group` is "" for the core, `namespace` "" for an object of a cluster-wide kind."""
        wanted_group = self.group if self.api_version is None else self.api_version.rpartition("/")[0]
        pairs = ((wanted_group, group), (self.kind, kind), (self.namespace, namespace), (self.name, name))
        return all(wanted is None or wanted == actual for wanted, actual in pairs)
