"""Asks the API server for the namespace of the operator's ServiceAccount."""

import logging

from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import KubeClient

logger = logging.getLogger(__name__)

_PATH = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_SERVICE_ACCOUNT = "system:serviceaccount:"


async def own_namespace(client: KubeClient) -> str | None:
    """Return the namespace of the operator's ServiceAccount; None if it runs as another kind of user.

    Every authenticated user may ask (ClusterRole system:basic-user). If that permission was removed, this logs it and returns
    None. Raises StartupError.
    """
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await client.request("POST", _PATH, body=body)
    except KubeError as error:
        if error.status not in (403, 404):
            raise StartupError(f"Cannot read the operator's own identity: {error.message}") from error
        logger.warning(
            "the operator cannot read in which namespace it runs (%s); if that namespace is deleted, the releases of the"
            " ManagedCharts in it are uninstalled",
            error.message,
        )
        return None
    user: str = answer["status"]["userInfo"]["username"]
    return user.removeprefix(_SERVICE_ACCOUNT).split(":")[0] if user.startswith(_SERVICE_ACCOUNT) else None
