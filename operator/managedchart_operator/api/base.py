"""What all API models share.

Boundary: naming and strictness only. Invariant: Python names are snake_case, names on the wire camelCase; unknown
fields of a spec are refused, so that a misspelt field is an error and never silently ignored.
"""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of a ManagedChart: camelCase on the wire, frozen, without unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )
