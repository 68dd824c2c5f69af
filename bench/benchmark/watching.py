"""Waiting for many resources at once, by one watch.

Invariant: ready means that the condition Ready speaks of the generation that was asked for, and that nothing is under way.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from benchmark.api import Api, charts_path
from harness.cluster import is_ready


class TooSlowError(Exception):
    """What was waited for did not happen in time."""


def follow(
    api: Api,
    namespace: str,
    names: Iterable[str],
    *,
    version: str,
    reached: Callable[[dict[str, Any]], bool],
    seconds: float,
) -> None:
    """Return when an event after `version` has satisfied `reached` for each of the names. Raises TooSlowError."""
    left = set(names)
    deadline = time.monotonic() + seconds
    last: dict[str, str] = {}
    if not left:
        return
    for event in api.watch(charts_path(namespace), version=version, seconds=seconds):
        body = event["object"]
        name = body["metadata"]["name"]
        if name in left:
            last[name] = str(body.get("status"))
            if reached(event):
                left.discard(name)
                if not left:
                    return
        if time.monotonic() > deadline:
            break
    shown = next(iter(sorted(left)))
    raise TooSlowError(f"{len(left)} resources are not there after {seconds:.0f} s, like {shown}: {last.get(shown)}")


def ready_at(generation: int) -> Callable[[dict[str, Any]], bool]:
    """Return the condition: Ready at this generation or a later one."""

    def reached(event: dict[str, Any]) -> bool:
        body = event["object"]
        return bool(event["type"] != "DELETED" and body["metadata"]["generation"] >= generation and is_ready(body))

    return reached


def gone(event: dict[str, Any]) -> bool:
    """Return whether the object is gone."""
    return bool(event["type"] == "DELETED")
