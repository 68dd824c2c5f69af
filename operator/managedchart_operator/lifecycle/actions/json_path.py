"""The paths of `kubectl wait --for=jsonpath`: steps, indexes, and a filter by one field.

Only what selects one value: `{.status.phase}`, `{.status.loadBalancer.ingress[0].ip}`,
`{.status.conditions[?(@.type=="Ready")].status}`. Everything else of JSONPath is refused when the action is read.
Source: Kubernetes documentation, "JSONPath Support".
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_STEP = re.compile(
    r"""\.(?P<key>(?:[^.\[\]\\{}'"\s]|\\.)+)"""
    r"""|\['(?P<quoted>[^'\]]+)'\]"""
    r"""|\[(?P<index>[0-9]{1,6})\]"""
    r"""|\[\?\(@\.(?P<field>[A-Za-z0-9_-]+)\s*==\s*(?P<quote>["'])(?P<value>[^"']*)(?P=quote)\)\]"""
)

Step = str | int | tuple[str, str]


def steps_of(path: str) -> list[Step]:
    """Return the steps of a path. Raises ValueError, which names the place, for anything else."""
    text = path.strip()
    text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    text = text.removeprefix("$")
    text = text if text.startswith((".", "[")) else f".{text}"
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(f'cannot be read from "{text[at : at + 20]}"')
        if found["field"] is not None:
            steps.append((found["field"], found["value"]))
        elif found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(found["quoted"] or re.sub(r"\\(.)", r"\1", found["key"]))
        at = found.end()
    return steps


def value_at(found: Mapping[str, Any], steps: Sequence[Step]) -> Any:
    """Return the value at a path; None if there is none."""
    value: Any = found
    for step in steps:
        match step, value:
            case str(), dict():
                value = value.get(step)
            case int(), list():
                value = value[step] if step < len(value) else None
            case (field, wanted), list():
                matching = (each for each in value if isinstance(each, dict) and as_text(each.get(field)) == wanted)
                value = next(matching, None)
            case _:
                return None
    return value


def as_text(value: Any) -> str:
    """Return a value as kubectl writes it."""
    return value if isinstance(value, str) else json.dumps(value)
