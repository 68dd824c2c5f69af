"""Reads the status fields that show whether an object is ready, whatever their types are.

The API server enforces the types of built-in kinds. The status of a custom resource may have any form: Argo Rollouts writes its
observedGeneration as text, others a condition's status as a boolean. Numbers and booleans are read in each form; other types
are ignored. Nothing here raises.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

# Longer than any generation or count of pods, and short enough for Python to read.
_DIGITS = re.compile(r"[0-9]{1,18}")

Default = TypeVar("Default", int, None)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a status."""

    type: str = ""
    status: str = ""
    """True, False or Unknown, as Kubernetes writes them; anything else is ignored."""
    reason: str = ""
    message: str = ""

    @property
    def true(self) -> bool:
        """Whether its status is True."""
        return self.status == "True"


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of an object; empty where they are missing."""

    meta: Mapping[str, Any]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Take an object apart."""
        return cls(mapping(found.get("metadata")), mapping(found.get("spec")), mapping(found.get("status")))

    def wanted(self, field: str = "replicas", default: int = 1) -> int:
        """Return a number of the spec."""
        return number_or(self.spec.get(field), default)

    def count(self, field: str, default: int = 0) -> int:
        """Return a number of the status."""
        return number_or(self.status.get(field), default)

    @property
    def is_observed(self) -> bool:
        """Whether the controller has seen the present spec, so that the status is about it."""
        return number_or(self.status.get("observedGeneration"), 0) >= number_or(self.meta.get("generation"), 0)

    @property
    def conditions(self) -> list[Condition]:
        """The conditions of the status, without items that are not conditions."""
        texts = ("type", "status", "reason", "message")
        items = mappings(self.status.get("conditions"))
        return [Condition(*(_text(item.get(name)) for name in texts)) for item in items]

    def condition(self, kind: str) -> Condition:
        """Return the last condition of a type, or an empty one."""
        return next((each for each in reversed(self.conditions) if each.type == kind), Condition())


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def mappings(values: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of a list."""
    return (value for value in values if isinstance(value, dict)) if isinstance(values, list) else iter(())


def number_or(value: Any, default: Default) -> int | Default:
    """Return a whole number, also if it is written as text; the default for anything else."""
    match value:
        case bool():
            return default
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if _DIGITS.fullmatch(value):
            return int(value)
        case _:
            return default


def _text(value: Any) -> str:
    """Return a part of a condition; a boolean as Kubernetes spells it."""
    return str(value) if isinstance(value, str | bool) else ""
