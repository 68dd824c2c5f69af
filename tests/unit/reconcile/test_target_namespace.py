"""Whether a release has a namespace to go into."""

from typing import Any

import pytest

from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.reconcile.release_run import TargetNamespace


class FakeNamespaces:
    """Every namespace stands like this."""

    def __init__(self, state: NamespaceState) -> None:
        self.looks = 0
        self._state = state

    async def state(self, _: str) -> NamespaceState:
        """Count the looks."""
        self.looks += 1
        return self._state


def target(
    state: NamespaceState, *, create: bool = True, known: bool = False
) -> tuple[TargetNamespace, FakeNamespaces]:
    namespaces: Any = FakeNamespaces(state)
    return TargetNamespace(namespaces, "apps", create, known), namespaces


@pytest.mark.parametrize("state", NamespaceState)
@pytest.mark.parametrize("create", [True, False])
async def test_helm_creates_only_a_missing_namespace(state: NamespaceState, *, create: bool) -> None:
    namespace, _ = target(state, create=create)
    assert await namespace.is_to_be_created() is (create and state is NamespaceState.MISSING)


@pytest.mark.parametrize(
    ("state", "create", "reason"),
    [
        (NamespaceState.MISSING, False, "NamespaceNotFound"),
        (NamespaceState.TERMINATING, True, "NamespaceTerminating"),
    ],
)
async def test_an_unusable_namespace_is_reported(state: NamespaceState, reason: str, *, create: bool) -> None:
    namespace, _ = target(state, create=create)
    with pytest.raises(OperatorError) as raised:
        await namespace.check()
    assert (raised.value.reason, raised.value.transient) == (reason, True)
    assert raised.value.hint


async def test_a_namespace_to_create_is_not_an_error() -> None:
    namespace, _ = target(NamespaceState.MISSING)
    await namespace.check()


async def test_the_namespace_is_read_once() -> None:
    namespace, namespaces = target(NamespaceState.ACTIVE)
    await namespace.check()
    await namespace.is_to_be_created()
    assert namespaces.looks == 1


async def test_a_known_namespace_costs_no_request() -> None:
    namespace, namespaces = target(NamespaceState.TERMINATING, known=True)
    await namespace.check()
    assert not await namespace.is_to_be_created()
    assert namespaces.looks == 0
