"""The few requests that devcluster itself sends to a control plane; kubectl does everything else.

Written on http.client, because urllib would send them to a proxy that the environment names.
"""

import http.client
import json
import ssl
from typing import Any

from .components import Layout

REQUEST_SECONDS = 5.0
"""One request to a process on the same machine; only a machine that is swapping takes longer."""

HEALTH_SECONDS = 1.0
"""One health check: it is repeated anyway, and another process on the port that never answers must not block it."""

UNREACHABLE = (OSError, http.client.HTTPException, ValueError)
"""What a request raises before the server is up: refused, reset, a truncated answer, no certificate yet."""


def request(layout: Layout, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Ask the API server as administrator; return the status code and the decoded answer (or its text)."""
    trust = ssl.create_default_context(cafile=str(layout.certificate))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", layout.ports.apiserver, timeout=REQUEST_SECONDS, context=trust
    )
    headers = {"Authorization": f"Bearer {layout.token}", "Content-Type": "application/json"}
    return _exchange(connection, method, path, headers, None if body is None else json.dumps(body))


def healthy(layout: Layout, port: int, path: str, *, tls: bool = True) -> bool:
    """Whether a component answers 200 at its health endpoint, which needs no credentials."""
    connection: http.client.HTTPConnection
    if tls:
        trust = ssl.create_default_context(cafile=str(layout.certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=HEALTH_SECONDS, context=trust)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_SECONDS)
    return _exchange(connection, "GET", path, {}, None)[0] == http.client.OK


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: str | None
) -> tuple[int, Any]:
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.headers.get_content_type() == "application/json":
        return answer.status, json.loads(text)
    return answer.status, text
