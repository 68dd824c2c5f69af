"""What the API server was asked, from its audit log.

Boundary: reads the log of a devcluster that was created with DEVCLUSTER_AUDIT_LOG; real kind has none. Invariant: a request
counts once, when it was answered; a watch when it began.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request. `client` is the program without its version, `resource` carries a subresource after a slash."""

    client: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    user: str = ""
    """Who sent it."""
    impersonated: str = ""
    """On whose behalf; empty for the own."""


def read_audit_log(log: Path) -> list[Request]:
    """Return all requests, in the order of their answers."""
    return [
        _request(entry)
        for entry in _entries(log)
        if entry["stage"] == ("ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete")
    ]


def watches_over_time(log: Path, wanted: Callable[[Request], bool]) -> list[tuple[Request, ...]]:
    """Return which of the wanted watches were open after each beginning and end of one, oldest first; nothing before."""
    still: dict[str, Request] = {}
    states: list[tuple[Request, ...]] = [()]
    for entry in _entries(log):
        if entry["verb"] != "watch" or not wanted(request := _request(entry)):
            continue
        if entry["stage"] == "ResponseStarted":
            still[entry["auditID"]] = request
        else:
            still.pop(entry["auditID"], None)
        states.append(tuple(still.values()))
    return states


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    # The last line may be only half written while the API server works.
    yield from map(json.loads, log.read_text().rpartition("\n")[0].splitlines())


def _request(entry: dict[str, Any]) -> Request:
    about = entry.get("objectRef") or {}
    resource = about.get("resource", entry["requestURI"].split("?")[0])
    return Request(
        client=entry.get("userAgent", "").split("/")[0].split(" ")[0],
        verb=entry["verb"],
        resource=resource + (f"/{about['subresource']}" if about.get("subresource") else ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=(entry.get("responseStatus") or {}).get("code", 0),
        user=(entry.get("user") or {}).get("username", ""),
        impersonated=(entry.get("impersonatedUser") or {}).get("username", ""),
    )
