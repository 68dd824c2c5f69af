"""Requests as the API server saw them, from its audit log (one JSON object a line).

Boundary: reads and counts. Invariant: a request counts once, when it was answered; of a watch, when it began.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request: who made it (the program, without its version), and what it was about."""

    client: str
    verb: str
    resource: str
    """The resource, with its subresource after a slash."""
    namespace: str
    name: str
    code: int


def read(log: Path) -> list[Request]:
    """Read all requests of a log, in the order of their answers."""
    found = []
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        began = entry["verb"] == "watch"
        if entry["stage"] != ("ResponseStarted" if began else "ResponseComplete"):
            continue
        about = entry.get("objectRef") or {}
        resource = about.get("resource", entry["requestURI"])
        found.append(
            Request(
                client=entry.get("userAgent", "").split("/")[0].split(" ")[0],
                verb=entry["verb"],
                resource=resource + (f"/{about['subresource']}" if about.get("subresource") else ""),
                namespace=about.get("namespace", ""),
                name=about.get("name", ""),
                code=(entry.get("responseStatus") or {}).get("code", 0),
            )
        )
    return found


def by_client(requests: Iterable[Request]) -> dict[str, int]:
    """Count the requests by program."""
    return dict(Counter(request.client for request in requests).most_common())
