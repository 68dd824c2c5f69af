"""Decides on whose behalf the operator works for a ManagedChart, and whether it can.

The API server does not check that an impersonated ServiceAccount exists, only that the operator may impersonate it. A name that
nobody has created would get the permissions of RoleBindings that an earlier account of this name has left behind. So the
operator reads the account, with its own permissions, before it does anything with it.
Source: Kubernetes documentation, "User impersonation"; measured with 1.37.
"""

from dataclasses import dataclass
from typing import Any

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.errors import AccountMissingError, KubeError
from managedchart_operator.kube.client import METADATA, KubeClient, unless_missing
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import IMPERSONATE, MissingPermission, Permission, is_allowed


@dataclass(frozen=True, slots=True)
class ServiceAccounts:
    """Reads ServiceAccounts with the operator's own permissions."""

    client: KubeClient
    default: str | None = None
    """The account for ManagedCharts that name none, in their own namespace; None for the operator itself."""

    def identity_of(self, chart: ManagedChart) -> Identity | None:
        """Return on whose behalf a ManagedChart is reconciled; None for the operator itself.

        The account is always one of the ManagedChart's own namespace: nobody borrows that of another team.
        """
        name = chart.service_account or self.default
        return Identity(chart.key.namespace, name) if name else None

    async def check(self, identity: Identity | None) -> str:
        """Return the UID of the account, "" for the operator itself.

        Raises AccountMissingError if it does not exist; raises KubeError too.
        """
        if identity is None:
            return ""
        found = await self._metadata(identity)
        if found is None:
            raise AccountMissingError(
                f"ServiceAccount {identity.name} does not exist in namespace {identity.namespace}",
                hint=f"Create it: kubectl create serviceaccount {identity.name} --namespace={identity.namespace}",
            )
        return str(found["uid"])

    async def granted(self, missing: MissingPermission, identity: Identity | None) -> bool:
        """Whether what a run lacked is there now; `identity` is that of its ManagedChart. Raises KubeError."""
        if missing.permission.verb == IMPERSONATE:
            return identity is None or (
                await self._metadata(identity) is not None and await self._can_impersonate(identity)
            )
        acting = identity if identity is not None and identity.user == missing.user else None
        return await is_allowed(self.client.acting_as(acting), missing.permission)

    async def _metadata(self, identity: Identity) -> dict[str, Any] | None:
        path = f"/api/v1/namespaces/{quoted(identity.namespace)}/serviceaccounts/{quoted(identity.name)}"
        found = await unless_missing(self.client.request("GET", path, accept=METADATA))
        return None if found is None else found["metadata"]

    async def _can_impersonate(self, identity: Identity) -> bool:
        """Whether the API server accepts a request as the account; any will do, since everybody may send this one."""
        try:
            await is_allowed(self.client.acting_as(identity), Permission("get", "pods", "", identity.namespace))
        except KubeError as error:
            if error.status != 403:
                raise
            return False
        return True
