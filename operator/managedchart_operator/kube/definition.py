"""The CustomResourceDefinition of ManagedCharts: whether it is being deleted, and whether it fits this operator.

The API server marks a CRD as being deleted before it deletes the first of its objects, and a read of one object is never
served from a cache. So reading the CRD after a ManagedChart was seen being deleted shows whether the CRD is the cause.
Its schema is read once, when the operator starts; a CRD that is replaced while the operator runs is not noticed.
"""

import logging
from dataclasses import dataclass

from managedchart_operator.api.crd import SCHEMA_DIGEST, digest_of, misfit, root
from managedchart_operator.api.resource import DEFINITION, KIND, VERSION
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import METADATA, KubeClient, unless_missing

logger = logging.getLogger(__name__)

APPLY_CRD = "kubectl apply --server-side -k crds/"
"""The command that installs and upgrades the CRD, as in README.md."""

GRANT_CRD = (
    f"Grant get on the CRD {DEFINITION}, as deploy/rbac.yaml does: apply your overlay again, or run helm upgrade."
)
_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}"


@dataclass(frozen=True, slots=True)
class DefinitionState:
    """When the CRD was created (RFC 3339, in UTC), and whether it is being deleted."""

    created: str
    deleting: bool


class Definition:
    """Reads the CRD; needs the permission to get this one CRD."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def check_schema(self) -> None:
        """Raise StartupError when the CRD cannot store every field that this operator reads and writes.

        A CRD that is being deleted always passes: the operator only has to remove the finalizers of its ManagedCharts.
        """
        try:
            found = await self._client.request("GET", _PATH)
        except KubeError as error:
            hint = GRANT_CRD if error.status == 403 else error.hint
            raise StartupError(f"Cannot read the CRD {DEFINITION}: {error.message}", hint=hint) from error
        if "deletionTimestamp" in found["metadata"]:
            return
        needed = root()
        versions = {version["name"]: version for version in found["spec"]["versions"]}
        schema = versions.get(VERSION, {}).get("schema") or {}
        if lack := misfit(needed, schema.get("openAPIV3Schema") or {}):
            raise StartupError(
                f"The CRD {DEFINITION} is older than this operator or was edited: {lack}, so the API server would drop"
                " or refuse a part of what the operator writes",
                hint=f"Apply the CRD of the operator's version: {APPLY_CRD}",
            )
        marked = (found["metadata"].get("annotations") or {}).get(SCHEMA_DIGEST)
        if marked != (own := digest_of(needed)):
            logger.info(
                "the CRD %s is of another version, but has every field that this operator needs (annotation %s: %s, not %s)",
                DEFINITION,
                SCHEMA_DIGEST,
                marked,
                own,
            )

    async def state(self) -> DefinitionState | None:
        """Return the state of the CRD; None if it does not exist. Raises KubeError."""
        try:
            # Only the metadata: the schemas are a hundred times larger.
            found = await unless_missing(self._client.request("GET", _PATH, accept=METADATA))
        except KubeError as error:
            if error.status != 403:
                raise
            raise KubeError(
                f"The operator may not get the CRD {DEFINITION}, so it cannot know whether this {KIND} is only being deleted"
                f" because its CRD is, and leaves the release unchanged: {error.answer or error.message}",
                reason=error.reason,
                transient=True,
                status=error.status,
                hint=f"{GRANT_CRD} The deletion then continues.",
                answer=error.answer,
            ) from error
        if found is None:
            return None
        return DefinitionState(found["metadata"]["creationTimestamp"], "deletionTimestamp" in found["metadata"])
