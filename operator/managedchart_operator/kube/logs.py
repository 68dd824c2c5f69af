"""The last lines of a container's log.

Boundary: bounded reads only. Invariant: a log that cannot be had is None, never an error: the evidence goes on without it.
"""

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient

# What a person reads first; more stands in the pod's own log.
TAIL_LINES = 20
MAX_BYTES = 2048
# The API server asks the kubelet, which may be gone.
_LOG_SECONDS = 2.0


class Logs:
    """Reads container logs."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def tail(self, *, namespace: str, pod: str, container: str, previous: bool) -> str | None:
        """Return the end of a container's log (of its previous run if asked for), at most 2 KiB; None where there is none."""
        query = {"container": container, "tailLines": str(TAIL_LINES), **({"previous": "true"} if previous else {})}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        try:
            text = await self._client.request("GET", path, query=query, accept="*/*", timeout=_LOG_SECONDS)
        except KubeError:
            return None
        if not isinstance(text, str) or not text.strip():
            return None
        return text[-MAX_BYTES:]
