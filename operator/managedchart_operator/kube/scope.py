"""In which namespaces the operator works: all of them, or those of a list.

With a list the operator needs no cluster-wide permission: each collection is read and watched namespace by namespace. A
namespace of the list that does not exist yet, or in which the operator has no permission, looks the same from here: the API
server refuses. So a refusal there is logged and asked again, and never stops the work in the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from managedchart_operator.errors import SpecError
from managedchart_operator.reasons import Reason


@dataclass(frozen=True, slots=True)
class Scope:
    """The namespaces in which the operator works; all if the list is empty."""

    namespaces: tuple[str, ...] = ()

    @property
    def everywhere(self) -> bool:
        """Whether the operator works in all namespaces."""
        return not self.namespaces

    def __contains__(self, namespace: str) -> bool:
        return self.everywhere or namespace in self.namespaces

    def collections(self, root: str, plural: str) -> Iterator[tuple[str | None, str]]:
        """Yield each namespace (None for all) with the path of a collection there, like /api/v1/namespaces/apps/secrets."""
        if self.everywhere:
            yield None, f"{root}/{plural}"
        for namespace in self.namespaces:
            yield namespace, f"{root}/namespaces/{namespace}/{plural}"

    def check_target(self, namespace: str) -> None:
        """Raise SpecError (FORBIDDEN) if a release is to be in a namespace in which the operator does not work."""
        if namespace not in self:
            raise SpecError(
                f"The operator does not work in namespace {namespace}, in which spec.targetNamespace puts the release",
                reason=Reason.FORBIDDEN,
                hint="Delete this ManagedChart and create it with another spec.targetNamespace, or ask the administrator of the"
                f" operator to add {namespace} to MANAGEDCHART_NAMESPACES and to grant the operator its permissions there"
                " (docs/security.md).",
            )
