"""What a failed deployment must leave, since it existed before."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reconcile.adopted import adopted_objects, made_since, was_adopted
from managedchart_operator.reconcile.release_storage import Unfinished
from unit.reconcile.fakes import unavailable

SINCE = 1_767_225_600.0
"""2026-01-01T00:00:00Z, when the revision's Secret was made."""
MARK = {"f:metadata": {"f:annotations": {"f:meta.helm.sh/release-name": {}}}}


def live(created: str | None = "2026-01-01T00:00:00Z", **managers: Any) -> dict[str, Any]:
    """An object as the API server has it: when it was made, and who manages which of its fields."""
    fields = [{"manager": manager, "fieldsV1": owned} for manager, owned in managers.items()]
    return {"metadata": {"name": "x", "creationTimestamp": created, "managedFields": fields}}


@pytest.mark.parametrize(
    ("found", "adopted"),
    [
        (live(helm=MARK), False),
        (live("2026-01-01T00:00:09Z", helm=MARK, hpa={"f:spec": {"f:replicas": {}}}), False),
        (live("2025-12-31T23:59:59Z", helm=MARK), True),
        (live(helm=MARK, kubectl=MARK), True),
        (live(helm=MARK, eks={"f:data": {}, **MARK}), True),
        (live(helm=MARK, odd={"f:metadata": "text"}), False),
        (live(None, helm=MARK), True),
        (live("yesterday", helm=MARK), True),
    ],
    ids=[
        "made",
        "made and scaled",
        "older",
        "marked by hand",
        "marked by another",
        "odd fields",
        "no time",
        "odd time",
    ],
)
def test_adopted_means_older_or_marked_by_others(found: dict[str, Any], *, adopted: bool) -> None:
    assert was_adopted(found, since=SINCE) == adopted


class Held:
    """Objects by name; `error` is what reading them raises."""

    locate_all = Objects.locate_all

    def __init__(self, error: KubeError | None = None, **held: dict[str, Any]) -> None:
        self.held = held
        self.error = error

    async def namespaced(self, _version: str, kind: str) -> bool:
        return kind != "ClusterRole"

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        if self.error:
            raise self.error
        return self.held.get(ref.name)


RENDERED = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "old"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "role"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gone"}},
]


async def test_the_adopted_objects_of_a_release_are_named() -> None:
    held = Held(old=live("2025-01-01T00:00:00Z"), new=live(), role=live(kubectl=MARK))
    found = await adopted_objects(cast("Any", held), RENDERED, namespace="apps", since=SINCE)
    assert list(map(str, found)) == ["ConfigMap apps/old", "ClusterRole role"]


async def test_an_unknown_kind_is_an_error() -> None:
    """Otherwise one missing answer of the API server would let an uninstall delete what existed before."""
    held = Held(old=live("2025-01-01T00:00:00Z"))

    async def no_answer(_version: str, _kind: str) -> bool:
        raise unavailable()

    held.namespaced = no_answer  # type: ignore[method-assign]
    with pytest.raises(KubeError):
        await adopted_objects(cast("Any", held), RENDERED, namespace="apps", since=SINCE)


def storage(*numbers: int) -> Any:
    """A release with these revisions, newest first, each stored a second after the one before."""
    return SimpleNamespace(
        revisions=tuple(Revision(number, "failed", "s", stored_at=SINCE + number) for number in numbers)
    )


def test_age_proves_nothing_after_pruning() -> None:
    """helm keeps ten. What the first one made is older than all that are left, and is the release's own."""
    whole, pruned = storage(3, 2, 1), storage(12, 11, 3)
    good_below = storage(12, 11, 3)

    def failed(release: Any, *, of: int) -> list[Unfinished]:
        return [Unfinished(revision, StoredRelease({})) for revision in release.revisions[:of]]

    assert made_since(whole, failed(whole, of=3)) == SINCE + 1
    assert made_since(pruned, failed(pruned, of=3)) == 0.0
    oldest = failed(whole, of=3)
    whole.revisions = ()  # deleted by somebody else meanwhile
    assert made_since(whole, oldest) == SINCE + 1
    assert made_since(good_below, failed(good_below, of=2)) == SINCE + 11


async def test_an_unreadable_object_is_an_error() -> None:
    with pytest.raises(KubeError):
        await adopted_objects(cast("Any", Held(unavailable())), RENDERED, namespace="apps", since=SINCE)
