"""All verbs, and the model of an action that has exactly one of them.

The verbs are found by looking into the package `verbs`, so that a new one is one file. The model is built from them once, at
import; it validates what people write, and its schema is the one of `actions[]` in both CRDs.
"""

import pkgutil
from importlib import import_module
from typing import Any

from pydantic import ConfigDict, Field, create_model

from managedchart_operator.api.schema import rules
from managedchart_operator.lifecycle.actions import verbs
from managedchart_operator.lifecycle.actions.envelope import ActionPhase, Envelope
from managedchart_operator.lifecycle.actions.verb import Verb


def _found() -> dict[str, type[Verb]]:
    """Import the modules of `verbs` and return the verb of each by its name, sorted."""
    found: dict[str, type[Verb]] = {}
    for module in pkgutil.iter_modules(verbs.__path__):
        loaded = import_module(f"{verbs.__name__}.{module.name}")
        here = [
            each
            for each in vars(loaded).values()
            if isinstance(each, type) and issubclass(each, Verb) and each.__module__ == loaded.__name__
        ]
        found |= {each.verb: each for each in here if "verb" in vars(each)}
    return dict(sorted(found.items()))


VERBS: dict[str, type[Verb]] = _found()
"""The verbs by their names."""

WHICH = f"set exactly one of {', '.join(VERBS)}; one without fields needs braces, like helmTest: {{}}"
_READING = [name for name, verb in VERBS.items() if not verb.writes]
READING_ONLY = f"phase Validate only checks: use one of {', '.join(_READING)} there"


def phases_of(verb: type[Verb]) -> list[str]:
    """Return the names of the phases in which a verb may be."""
    return [each.value for each in verb.phases if not (verb.writes and each.value == ActionPhase.VALIDATE)]


def _rules() -> list[tuple[str, str]]:
    """Return the CEL rules of an action: exactly one verb, and a phase that fits it."""
    count = " ".join(f"+ (has(self.{name}) ? 1 : 0)" for name in VERBS).removeprefix("+ ")
    reading = " || ".join(f"has(self.{name})" for name in _READING)
    special = [
        (
            f"!has(self.{name}) || self.phase in {phases_of(verb)}".replace('"', "'"),
            f"{name} can be in {' and '.join(phases_of(verb))} only",
        )
        for name, verb in VERBS.items()
        if len(phases_of(verb)) < len(ActionPhase) - 1
    ]
    return [(f"{count} == 1", WHICH), (f"self.phase != '{ActionPhase.VALIDATE}' || {reading}", READING_ONLY), *special]


def _fields() -> dict[str, Any]:
    return {
        f"{name}_": (verb | None, Field(default=None, alias=name, description=verb.__doc__))
        for name, verb in VERBS.items()
    }


Action: type[Envelope] = create_model("Action", __base__=Envelope, __doc__=Envelope.__doc__, **_fields())
"""An action as people write it; `verb_of` returns its verb."""
Action.model_config = ConfigDict(**{**Action.model_config, "json_schema_extra": rules(*_rules())})
Action.model_rebuild(force=True)


def verbs_in(action: Envelope) -> list[Verb]:
    """Return the verbs of an action; it must have exactly one."""
    return [verb for name in VERBS if (verb := getattr(action, f"{name}_")) is not None]


def verb_of(action: Envelope) -> Verb:
    """Return the verb of an action that was read by `reading`."""
    return verbs_in(action)[0]
