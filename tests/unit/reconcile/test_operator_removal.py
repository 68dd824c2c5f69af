"""Which ManagedCharts are deleted without an uninstall, by the state of the CRD and of the operator's namespace."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError, ReleaseKeptError
from managedchart_operator.kube.definition import DefinitionState
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.reconcile.operator_removal import OperatorRemoval, crd_keeps
from unit.reconcile.fakes import chart, unavailable

CREATED = "2026-01-01T12:00:00Z"
LATER = "2026-01-01T12:00:01Z"
EARLIER = "2025-12-31T23:59:59Z"
PRESENT = DefinitionState(CREATED, deleting=False)
GOING = DefinitionState(CREATED, deleting=True)
HOME = "managedchart-system"


@pytest.mark.parametrize(
    ("definition", "requested", "why"),
    [
        pytest.param(PRESENT, LATER, None, id="an ordinary deletion"),
        pytest.param(GOING, LATER, ("the CRD", "is being deleted"), id="the CRD is being deleted"),
        pytest.param(GOING, EARLIER, ("the CRD", "is being deleted"), id="deleted before the CRD"),
        pytest.param(None, LATER, ("the CRD", "was deleted"), id="the CRD was deleted"),
        pytest.param(
            PRESENT,
            EARLIER,
            ("its deletion was requested before the CRD", "was installed again"),
            id="deleted under an earlier CRD",
        ),
        pytest.param(
            PRESENT,
            CREATED,
            ("its deletion was requested before the CRD", "was installed again"),
            id="in the second of the CRD's creation",
        ),
    ],
)
def test_only_a_stable_crd_allows_an_uninstall(
    definition: DefinitionState | None, requested: str, why: tuple[str, str] | None
) -> None:
    found = crd_keeps(chart(deleting=True, deletion_requested=requested), definition)
    assert found == (f"{why[0]} managedcharts.managedchart.dev {why[1]}" if why else None)


@dataclass
class FakeDefinition:
    """A CRD in one state; an error is raised."""

    answer: DefinitionState | KubeError | None
    asked: int = 0

    async def state(self, *, settled: bool = False) -> DefinitionState | None:
        self.asked += 1
        if isinstance(self.answer, KubeError):
            raise self.answer
        return self.answer


@dataclass
class FakeNamespaces:
    """Namespaces of which all are in one state."""

    answer: NamespaceState = NamespaceState.TERMINATING
    asked: list[str] = field(default_factory=list)

    async def state(self, name: str) -> NamespaceState:
        self.asked.append(name)
        return self.answer


def removal(
    definition: FakeDefinition, namespaces: FakeNamespaces, *, home: str | None = HOME, uninstall_with_crd: bool = False
) -> OperatorRemoval:
    return OperatorRemoval(cast("Any", definition), cast("Any", namespaces), home, uninstall_with_crd)


def deleted(namespace: str = "apps") -> Any:
    return chart(namespace=namespace, deleting=True, deletion_requested=LATER)


async def test_an_unreadable_crd_allows_no_uninstall() -> None:
    """The error is reported and the deletion retried; no answer counts as permission."""
    with pytest.raises(KubeError):
        await removal(FakeDefinition(unavailable()), FakeNamespaces()).why_kept(deleted())


async def test_the_setting_does_not_even_read_the_crd() -> None:
    definition = FakeDefinition(GOING)
    assert await removal(definition, FakeNamespaces(), uninstall_with_crd=True).why_kept(deleted()) is None
    assert definition.asked == 0


@pytest.mark.parametrize("state", [NamespaceState.TERMINATING, NamespaceState.MISSING])
async def test_deleting_the_operators_namespace_keeps_releases(state: NamespaceState) -> None:
    """Whatever the setting for the CRD says."""
    for uninstall_with_crd in (False, True):
        found = removal(FakeDefinition(PRESENT), FakeNamespaces(state), uninstall_with_crd=uninstall_with_crd)
        assert await found.why_kept(deleted(HOME)) == f"the operator's own namespace {HOME} is being deleted"


async def test_the_operators_active_namespace_keeps_nothing() -> None:
    found = removal(FakeDefinition(PRESENT), FakeNamespaces(NamespaceState.ACTIVE))
    assert await found.why_kept(deleted(HOME)) is None


@pytest.mark.parametrize("home", [HOME, None])
async def test_other_namespaces_are_not_read(home: str | None) -> None:
    namespaces = FakeNamespaces()
    assert await removal(FakeDefinition(PRESENT), namespaces, home=home).why_kept(deleted()) is None
    assert namespaces.asked == []


async def test_the_second_check_raises_what_the_first_returns() -> None:
    await removal(FakeDefinition(PRESENT), FakeNamespaces()).check(deleted())
    with pytest.raises(ReleaseKeptError, match="is being deleted"):
        await removal(FakeDefinition(GOING), FakeNamespaces()).check(deleted())
