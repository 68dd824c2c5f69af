"""The last lines of a container's log.

Reads are bounded. A log that cannot be read is None, never an error: the rest of the evidence is collected without it.
"""

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.identities import Identity

# What a person reads first; kubectl logs shows the rest.
TAIL_LINES = 20
MAX_BYTES = 2048
# What is read of it: a secret may begin before what is shown.
RAW_BYTES = 16 * 1024
# The API server asks the kubelet, which may be down.
_LOG_SECONDS = 2.0


class Logs:
    """Reads container logs."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def acting_as(self, identity: Identity | None) -> "Logs":
        """Return the same for requests on behalf of a resource."""
        return Logs(self._client.acting_as(identity))

    async def tail(self, *, namespace: str, pod: str, container: str, previous: bool) -> str | None:
        """Return the end of a container's log (of its previous run if asked for); None if there is none.

        It has at most 16 KiB, of which the caller shows MAX_BYTES once it has redacted it.
        """
        query = {"container": container, "tailLines": str(TAIL_LINES), **({"previous": "true"} if previous else {})}
        path = f"/api/v1/namespaces/{quoted(namespace)}/pods/{quoted(pod)}/log"
        try:
            text = await self._client.request("GET", path, query=query, accept="*/*", timeout=_LOG_SECONDS)
        except KubeError:
            return None
        if not isinstance(text, str) or not text.strip():
            return None
        return text[-RAW_BYTES:]
