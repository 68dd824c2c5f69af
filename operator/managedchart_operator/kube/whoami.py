"""Who the operator is for the API server: the namespace of its ServiceAccount."""

import logging

from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import KubeClient

logger = logging.getLogger(__name__)

_PATH = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_SERVICE_ACCOUNT = "system:serviceaccount:"


async def own_namespace(client: KubeClient) -> str | None:
    """Return the namespace of the operator's ServiceAccount; None where it runs as another kind of user.

    Every authenticated user may ask (ClusterRole system:basic-user). Where that was taken away it is None too, and logged.
    Raises StartupError.
    """
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await client.request("POST", _PATH, body=body)
    except KubeError as error:
        if error.status not in (403, 404):
            raise StartupError(f"Cannot read the operator's own identity: {error.message}") from error
        logger.warning(
            "The API server does not say in which namespace the operator runs (%s): when that namespace is deleted, the"
            " releases of the ManagedCharts in it are uninstalled",
            error.message,
        )
        return None
    user: str = answer["status"]["userInfo"]["username"]
    return user.removeprefix(_SERVICE_ACCOUNT).split(":")[0] if user.startswith(_SERVICE_ACCOUNT) else None
