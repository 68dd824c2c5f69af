"""What all API models share: names are snake_case in Python and camelCase on the wire.

Unknown fields of a spec are refused, so that a misspelt field is an error and not silently ignored.
"""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of a ManagedChart: camelCase on the wire, frozen, without unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )
