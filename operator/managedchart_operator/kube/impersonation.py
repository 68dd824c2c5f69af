"""How the operator may act as a ServiceAccount; asked once, at the start.

Kubernetes 1.36 has constrained impersonation (KEP-5284): one permission says as whom, further ones say which requests. Older
API servers know the verb `impersonate` only. A permission is only a rule of RBAC, which an API server of any version stores; so
one request is made as an account, and shows whether the API server follows the rule.
"""

import logging
from enum import StrEnum

from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import Permission, is_allowed, missing_in
from managedchart_operator.kube.scope import Scope

logger = logging.getLogger(__name__)

# What helm does with the Secrets of every release; a role may leave out what no chart of the cluster contains.
_VERBS = ("get", "list", "create", "update", "patch", "delete")
_GRANT = (
    "Grant it, as deploy/profiles/impersonate does (with Helm: rbac.profile: impersonate). Do not unset"
    " MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT instead: charts would then have the operator's own permissions."
)
_LEGACY = (
    "Constrained impersonation needs Kubernetes 1.36 with the feature gate ConstrainedImpersonation. Without it, use"
    " deploy/profiles/impersonate-legacy instead of deploy/profiles/impersonate (with Helm: rbac.impersonation: legacy)."
)


class Impersonation(StrEnum):
    """How the operator may act as a ServiceAccount."""

    CONSTRAINED = "constrained impersonation"
    LEGACY = "the verb impersonate"


async def check_impersonation(client: KubeClient, scope: Scope, *, account: str | None) -> None:
    """Log in one line how the operator impersonates.

    Raises StartupError if it may not, in none of the namespaces of its scope, although `account`, the one for ManagedCharts
    that name none, is set: they must never run with the permissions of the operator instead. It also raises StartupError if
    `account` is not set, and the operator itself may not deploy anything: charts would then have what it needs for its own
    work, such as to read all Secrets.
    """
    kinds: set[Impersonation] = set()
    refused: dict[str, StartupError] = {}
    for namespace in scope.namespaces or ("",):
        try:
            kinds.add(await _kind_of(client, namespace, account or "default"))
        except StartupError as error:
            refused[namespace] = error
        except KubeError as error:
            refused[namespace] = StartupError(f"its permissions cannot be checked: {error.message}", hint=error.hint)
    if not kinds and account is not None:
        first = next(iter(refused.values()))
        raise StartupError(
            f"The operator cannot impersonate the ServiceAccount {account} that MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT names:"
            f" {first.message}",
            hint=first.hint,
        )
    if kinds and account is None and not await _may_deploy(client, scope):
        raise StartupError(
            "The operator may impersonate ServiceAccounts and has no permissions for charts itself, but"
            " MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT is not set: a ManagedChart that names no account could read all Secrets",
            hint="Set MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT to the name of an account, such as default in"
            " deploy/profiles/impersonate.",
        )
    for namespace, why in refused.items() if kinds else ():
        logger.warning("cannot impersonate ServiceAccounts of namespace %s: %s", namespace, why.message)
    logger.info(
        "%s; ManagedCharts without spec.serviceAccountName run %s",
        f"impersonating ServiceAccounts by {' and '.join(sorted(kinds))}"
        if kinds
        else "not impersonating: no permission",
        f"as {account} of their namespace" if account else "with the permissions of the operator",
    )


async def _may_deploy(client: KubeClient, scope: Scope) -> bool:
    """Whether the operator itself may store a release in its scope, which its own work does not need. Raises KubeError."""
    needed = [Permission("create", "secrets", "", namespace) for namespace in scope.namespaces or ("",)]
    return any([await is_allowed(client, each) for each in needed])


async def _kind_of(client: KubeClient, namespace: str, account: str) -> Impersonation:
    """Return how ServiceAccounts of a namespace ("" for any) are impersonated. Raises StartupError if not, and KubeError."""
    if await is_allowed(client, Permission("impersonate", "serviceaccounts", "", namespace)):
        return Impersonation.LEGACY
    constrained = Permission("impersonate:serviceaccount", "serviceaccounts", "authentication.k8s.io", namespace)
    if not await is_allowed(client, constrained):
        where = f"in namespace {namespace}" if namespace else "in all namespaces"
        raise StartupError(
            "it has neither the permission impersonate:serviceaccount on serviceaccounts.authentication.k8s.io, nor the older"
            f" one, impersonate on serviceaccounts, {where}",
            hint=_GRANT,
        )
    for verb in _VERBS:
        needed = Permission(f"impersonate-on:serviceaccount:{verb}", "secrets", "", namespace)
        if not await is_allowed(client, needed):
            raise StartupError(f"it has no permission to {needed.verb} secrets", hint=_GRANT)
    await _try(client, Identity(namespace or "default", account))
    return Impersonation.CONSTRAINED


async def _try(client: KubeClient, identity: Identity) -> None:
    """Ask as an account, which need not exist. Raises StartupError if the API server does not let the operator do that."""
    path = f"/api/v1/namespaces/{identity.namespace}/secrets"
    try:
        await client.acting_as(identity).request("GET", path, query={"limit": "1", "labelSelector": "owner=helm"})
    except KubeError as error:
        if error.status != 403:
            raise
        missing = missing_in(error.answer)
        if missing is None or missing.user != identity.user:
            raise StartupError(
                f"the API server refuses it, although the permission was granted: {error.answer}", hint=_LEGACY
            ) from error
