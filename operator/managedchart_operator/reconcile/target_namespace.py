"""Checks the namespace of a release: whether it exists, and whether helm has to create it."""

from dataclasses import dataclass

from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.namespaces import Namespaces, NamespaceState
from managedchart_operator.reasons import Reason


@dataclass(slots=True)
class TargetNamespace:
    """The state of the namespace, read once per run when it is first needed.

    With `known_to_exist` it is not read, since the ManagedChart or a revision of the release is in it. If it is being deleted,
    the API server refuses the upgrade with that reason.
    """

    namespaces: Namespaces
    name: str
    create: bool
    """Whether helm may create it."""
    known_to_exist: bool
    _state: NamespaceState | None = None

    async def check(self) -> None:
        """Raise OperatorError when it is missing and may not be created, or is being deleted."""
        match await self._look():
            case NamespaceState.TERMINATING:
                raise OperatorError(
                    f"Namespace {self.name} is being deleted",
                    reason=Reason.NAMESPACE_TERMINATING,
                    transient=True,
                    hint=f"Wait until it is deleted, or see what blocks it: kubectl get namespace {self.name} -o yaml",
                )
            case NamespaceState.MISSING if not self.create:
                raise OperatorError(
                    f"Namespace {self.name} does not exist, and spec.createNamespace is false",
                    reason=Reason.NAMESPACE_NOT_FOUND,
                    transient=True,
                    hint=f"Create it (kubectl create namespace {self.name}) or set spec.createNamespace: true.",
                )

    async def is_to_be_created(self) -> bool:
        """Whether helm has to create it. With `--create-namespace` helm applies even an existing one, which needs permission.

        Raises KubeError.
        """
        return self.create and await self._look() is NamespaceState.MISSING

    async def _look(self) -> NamespaceState:
        if self.known_to_exist:
            return NamespaceState.ACTIVE
        if self._state is None:
            self._state = await self.namespaces.state(self.name)
        return self._state
