"""Asks the API server which ServiceAccount the operator itself is.

Every authenticated user may ask (ClusterRole system:basic-user).
"""

import logging

from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.identities import SERVICE_ACCOUNT, Identity

logger = logging.getLogger(__name__)


async def own_account(client: KubeClient) -> Identity | None:
    """Return the operator's ServiceAccount; None if it runs as another kind of user.

    If the permission to ask was removed, this logs it and returns None. Raises StartupError.
    """
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await client.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
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
    namespace, _, name = user.removeprefix(SERVICE_ACCOUNT).partition(":")
    return Identity(namespace, name) if user.startswith(SERVICE_ACCOUNT) else None
