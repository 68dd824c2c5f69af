"""The CustomResourceDefinition of ManagedCharts: whether it is being deleted, and whether it fits this operator.

The API server marks a CRD as being deleted before it deletes the first of its objects, and a read of one object is never
served from a cache. So reading the CRD after a ManagedChart was seen being deleted shows whether the CRD is the cause.
An operator that works in a list of namespaces may have no permission to read the CRD. It reads discovery and OpenAPI instead,
which every authenticated user may (ClusterRole system:discovery).
Its schema is read once, when the operator starts; a CRD that is replaced while the operator runs is not noticed.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.api.crd import SCHEMA_DIGEST, digest_of, misfit
from managedchart_operator.api.resource import API_VERSION, DEFINITION, GROUP, KIND, PLURAL, VERSION
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import METADATA, KubeClient, unless_missing
from managedchart_operator.kube.scope import Scope

logger = logging.getLogger(__name__)

APPLY_CRD = "kubectl apply --server-side -k crds/"
"""The command that installs and upgrades the CRD, as in README.md."""

GRANT_CRD = (
    f"Grant get on the CRD {DEFINITION}, as deploy/rbac.yaml does: apply your overlay again, or run helm upgrade."
)
_DISCOVERY = f"/apis/{API_VERSION}"
_OPENAPI = f"/openapi/v3/apis/{API_VERSION}"
# Discovery no longer offers `create` for a CRD that is being deleted, 30 to 50 ms after the request (measured with 1.37), which
# was before the first ManagedChart was deleted. Several API servers do not publish it at the same moment.
_SETTLE_SECONDS = 2.0
_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}"


@dataclass(frozen=True, slots=True)
class DefinitionState:
    """When the CRD was created (RFC 3339, in UTC; empty if unknown), and whether it is being deleted."""

    created: str
    deleting: bool


class Definition:
    """Reads the CRD; needs the permission to get this one CRD, except with a list of namespaces."""

    def __init__(self, client: KubeClient, scope: Scope | None = None) -> None:
        self._client = client
        self._may_be_unreadable = not (scope or Scope()).everywhere

    async def check_schema(self, needed: Mapping[str, Any]) -> None:
        """Raise StartupError when the CRD cannot store every field of the `needed` schema.

        A CRD that is being deleted always passes: the operator only has to remove the finalizers of its ManagedCharts.
        """
        try:
            found = await self._client.request("GET", _PATH)
        except KubeError as error:
            if error.status == 403 and self._may_be_unreadable:
                await self._check_published_schema(needed)
                return
            hint = GRANT_CRD if error.status == 403 else error.hint
            raise StartupError(f"Cannot read the CRD {DEFINITION}: {error.message}", hint=hint) from error
        if "deletionTimestamp" in found["metadata"]:
            return
        versions = {version["name"]: version for version in found["spec"]["versions"]}
        schema = versions.get(VERSION, {}).get("schema") or {}
        _check_fit(needed, schema.get("openAPIV3Schema") or {})
        marked = (found["metadata"].get("annotations") or {}).get(SCHEMA_DIGEST)
        if marked != (own := digest_of(needed)):
            logger.info(
                "the CRD %s is of another version, but has every field that this operator needs (annotation %s: %s, not %s)",
                DEFINITION,
                SCHEMA_DIGEST,
                marked,
                own,
            )

    async def check_optional(self, name: str, needed: Mapping[str, Any]) -> None:
        """Raise StartupError when the CRD `name`, which need not be there or be readable, cannot store the `needed` schema."""
        try:
            found = await unless_missing(self._client.request("GET", f"{_PATH.rpartition('/')[0]}/{name}"))
        except KubeError as error:
            if error.status != 403:
                raise StartupError(f"Cannot read the CRD {name}: {error.message}", hint=error.hint) from error
            logger.info("the schema of the CRD %s is not checked: the operator may not get it", name)
            return
        if found is None or "deletionTimestamp" in found["metadata"]:
            return
        versions = {version["name"]: version for version in found["spec"]["versions"]}
        schema = versions.get(VERSION, {}).get("schema") or {}
        _check_fit(needed, schema.get("openAPIV3Schema") or {}, name=name)

    async def _check_published_schema(self, needed: Mapping[str, Any]) -> None:
        """Check the schema that the API server publishes for everybody. Raises StartupError."""
        found = await unless_missing(self._client.request("GET", _OPENAPI)) or {}
        name = f"{'.'.join(reversed(GROUP.split('.')))}.{VERSION}.{KIND}"
        schema = (found.get("components") or {}).get("schemas", {}).get(name)
        if schema is None:
            logger.warning("the schema of the CRD %s is not checked: the operator may not get the CRD", DEFINITION)
            return
        _check_fit(needed, schema)
        logger.info(
            "the operator may not get the CRD %s: its schema was checked as the API server publishes it, and a deletion of the"
            " CRD is noticed by discovery; whether it was deleted and installed again is not checked",
            DEFINITION,
        )

    async def state(self, *, settled: bool = False) -> DefinitionState | None:
        """Return the state of the CRD; None if it does not exist. Raises KubeError.

        Where only discovery can be read this takes two seconds, since that follows the CRD; `settled` leaves them out.
        """
        try:
            # Only the metadata: the schemas are a hundred times larger.
            found = await unless_missing(self._client.request("GET", _PATH, accept=METADATA))
        except KubeError as error:
            if error.status != 403:
                raise
            if self._may_be_unreadable:
                return await self._discovered_state(settled=settled)
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

    async def _discovered_state(self, *, settled: bool) -> DefinitionState | None:
        """Return the state by discovery; it does not say when the CRD was created."""
        for delay in (0.0,) if settled else (0.0, _SETTLE_SECONDS):
            await asyncio.sleep(delay)  # discovery cannot be watched
            found = await unless_missing(self._client.request("GET", _DISCOVERY))
            verbs = [each["verbs"] for each in (found or {}).get("resources") or () if each["name"] == PLURAL]
            if not verbs:
                return None
            if "create" not in verbs[0]:
                return DefinitionState("", deleting=True)
        return DefinitionState("", deleting=False)


def _check_fit(needed: Mapping[str, Any], found: Mapping[str, Any], *, name: str = DEFINITION) -> None:
    """Raise StartupError if a schema cannot store all that the needed one stores."""
    if lack := misfit(needed, found):
        raise StartupError(
            f"The CRD {name} is older than this operator or was edited: {lack}, so the API server would drop"
            " or refuse a part of what the operator writes",
            hint=f"Apply the CRD of the operator's version: {APPLY_CRD}",
        )
