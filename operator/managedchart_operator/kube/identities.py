"""Whose permissions count for what is done on behalf of a resource: those of a ServiceAccount, by impersonation.

Requests that carry no identity are the operator's own. `service_accounts` reads whether an account exists, `client` sends it.
Source: Kubernetes documentation, "User impersonation".
"""

from dataclasses import dataclass

SERVICE_ACCOUNT = "system:serviceaccount:"
"""What the user name of a ServiceAccount begins with; its namespace and name follow."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A ServiceAccount that the operator impersonates."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        """The account's user name. The API server itself adds the groups of a ServiceAccount (measured with 1.37)."""
        return f"{SERVICE_ACCOUNT}{self.namespace}:{self.name}"
