"""The API server, for the benchmark: requests and watches at the least cost to the machine that is being measured.

Boundary: plain HTTP of the standard library with the bearer token of a kubeconfig, as devcluster writes it. A connection
belongs to one thread.
"""

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

GROUP_PATH = "/apis/managedchart.dev/v1alpha1"
MERGE_PATCH = "application/merge-patch+json"
# Beyond this the control plane hangs; the slowest answer under full load takes a second or two.
_REQUEST_SECONDS = 60.0
# The API server closes a connection that was idle for 90 s, which plain helm's turn may be with many releases.
_IDLE_SECONDS = 30.0


class ApiError(Exception):
    """The API server refused a request of the benchmark."""


class Api:
    """Requests with one kept connection a thread."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self._host, self._port = address.hostname or "", address.port or 443
        self._context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self._headers = {
            "Authorization": f"Bearer {user['token']}",
            "Accept": "application/json",
            "User-Agent": "benchmark",
        }
        self._own = threading.local()

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """Return the decoded answer. Raises ApiError."""
        connection: http.client.HTTPSConnection | None = getattr(self._own, "connection", None)
        if connection is None or time.monotonic() - self._own.used > _IDLE_SECONDS:
            connection = self._own.connection = self._connect(_REQUEST_SECONDS)
        self._own.used = time.monotonic()
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, body=data, headers={**self._headers, "Content-Type": content_type})
        answer = connection.getresponse()
        raw = answer.read()
        if answer.status >= 300:
            raise ApiError(f"{method} {path}: {answer.status} {raw[:500].decode(errors='replace')}")
        return json.loads(raw)

    def version_of(self, path: str) -> str:
        """Return the collection's resourceVersion now, from which a watch misses nothing."""
        version: str = self.request("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        return version

    def watch(self, path: str, *, version: str, seconds: float) -> Iterator[dict[str, Any]]:
        """Yield the events after a resourceVersion, for at most so many seconds. Raises ApiError."""
        query = urlencode({"watch": "true", "resourceVersion": version, "timeoutSeconds": str(max(int(seconds), 1))})
        connection = self._connect(seconds + _REQUEST_SECONDS)
        try:
            connection.request("GET", f"{path}?{query}", headers=self._headers)
            answer = connection.getresponse()
            if answer.status >= 300:
                raise ApiError(f"WATCH {path}: {answer.status} {answer.read(500).decode(errors='replace')}")
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(f"WATCH {path}: {event['object'].get('message')}")
                yield event
        finally:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=self._context)


def charts_path(namespace: str, name: str = "") -> str:
    """Return the path of a namespace's ManagedCharts, or of one."""
    return f"{GROUP_PATH}/namespaces/{namespace}/managedcharts" + (f"/{name}" if name else "")
