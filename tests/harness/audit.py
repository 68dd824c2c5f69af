"""What the API server was asked, from its audit log.

Boundary: reads the log of a devcluster that was created with DEVCLUSTER_AUDIT_LOG; real kind has none. Invariant: a request
counts once, when it was answered; a watch when it began.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request. `client` is the program without its version, `resource` carries a subresource after a slash."""

    client: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int


def read_audit_log(log: Path) -> list[Request]:
    """Return all requests, in the order of their answers."""
    found = []
    # The last line may be only half written while the API server works.
    for line in log.read_text().rpartition("\n")[0].splitlines():
        entry = json.loads(line)
        if entry["stage"] != ("ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete"):
            continue
        about = entry.get("objectRef") or {}
        resource = about.get("resource", entry["requestURI"].split("?")[0])
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
