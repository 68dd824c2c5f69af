"""Two teams that share a cluster: each has a namespace, a user, and two ServiceAccounts that may deploy there.

The user may do everything with ManagedCharts and Events in the own namespace, and nothing else; so what the user gets beyond
that is the operator's doing. Requests are sent as the user, by impersonation.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from harness.cluster import MANAGEDCHARTS, Cluster, namespace

_RBAC = "rbac.authorization.k8s.io"
DEPLOYER, DEFAULT = "deployer", "default"
"""The ServiceAccounts of each team, with the ClusterRole admin in its namespace; the second one is every namespace's own."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One team."""

    cluster: Cluster
    namespace: str

    @property
    def user(self) -> str:
        """The name of its user."""
        return f"user-of-{self.namespace}"

    def create(self, chart: dict[str, Any]) -> dict[str, Any]:
        """Create a ManagedChart in the own namespace, as the user."""
        path = f"{MANAGEDCHARTS}/namespaces/{self.namespace}/managedcharts"
        return self.cluster.create(path, chart, as_user=self.user)

    def delete(self, name: str) -> None:
        """Delete a ManagedChart, as the user, without waiting."""
        path = f"{MANAGEDCHARTS}/namespaces/{self.namespace}/managedcharts/{name}"
        self.cluster.delete(path, as_user=self.user)

    def accept(self, other: "Tenant") -> None:
        """Let the other team have releases in the own namespace, as its administrator can; this is not a permission."""
        labels = {f"from.managedchart.dev/{other.namespace}": "true"}
        metadata = {"name": self.namespace, "labels": labels}
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def grant(self, other: "Tenant", role: str, *, verbs: Sequence[str] = ()) -> None:
        """Grant the other team's account a ClusterRole in the own namespace, or these verbs on everything there."""
        kind = "Role" if verbs else "ClusterRole"
        if verbs:
            rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": list(verbs)}]
            body = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": {"name": role}, "rules": rules}
            self.cluster.apply(body, namespace=self.namespace)
        account = {"kind": "ServiceAccount", "name": DEFAULT, "namespace": other.namespace}
        self.cluster.apply(_binding(f"{role}-{other.namespace}", kind, role, account), namespace=self.namespace)

    def revoke(self, other: "Tenant", role: str) -> None:
        """Take back what `grant` has granted."""
        self.cluster.delete(f"/apis/{_RBAC}/v1/namespaces/{self.namespace}/rolebindings/{role}-{other.namespace}")


@contextmanager
def tenants(cluster: Cluster, name: str) -> Iterator[tuple[Tenant, Tenant]]:
    """Two teams, with namespaces that begin with this name; everything of theirs is deleted at the end."""
    with ExitStack() as stack:
        found = [Tenant(cluster, stack.enter_context(namespace(cluster, f"{name}-{letter}"))) for letter in "ab"]
        for tenant in found:
            _grant(cluster, tenant)
        yield found[0], found[1]


def _grant(cluster: Cluster, tenant: Tenant) -> None:
    rules = [
        {"apiGroups": ["managedchart.dev"], "resources": ["managedcharts"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
    ]
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": {"name": "user"}, "rules": rules}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEPLOYER}}
    user = {"kind": "User", "apiGroup": _RBAC, "name": tenant.user}
    accounts = [{"kind": "ServiceAccount", "name": name, "namespace": tenant.namespace} for name in (DEPLOYER, DEFAULT)]
    cluster.apply(
        account,
        role,
        _binding("user", "Role", "user", user),
        _binding(DEPLOYER, "ClusterRole", "admin", *accounts),
        namespace=tenant.namespace,
    )
    # A controller makes it soon after the namespace; without it the first attempt of a ManagedChart would be Forbidden.
    cluster.wait(
        f"/api/v1/namespaces/{tenant.namespace}/serviceaccounts", DEFAULT, lambda found: found is not None, what="there"
    )


def _binding(name: str, kind: str, role: str, *subjects: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": list(subjects),
    }
