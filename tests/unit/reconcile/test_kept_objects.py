"""What an uninstall keeps by design is named, since the next install has to fit it."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.kept_objects import kept_objects

PASSWORDS = "(the next install needs the same passwords for it)"


def _deletion(name: str) -> dict[str, str]:
    return {"deletionTimestamp": "2026-01-01T12:00:00Z"} if name == "data-db-99" else {}


class FakeCluster:
    """Claims and other objects that are still there."""

    locate, resolve = Objects.locate, Objects.resolve

    def __init__(self, *there: str, forbidden: bool = False) -> None:
        self._there, self._forbidden = there, forbidden

    async def namespaced(self, *_: Any) -> bool:
        return True

    async def served_version(self, api_version: str, _: str) -> str:
        return api_version

    async def list(self, _: str, kind: str, **__: Any) -> list[dict[str, Any]]:
        if self._forbidden:
            raise KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)
        assert kind == "PersistentVolumeClaim"
        return [{"metadata": {"name": name, **_deletion(name)}} for name in self._there]

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        return {"metadata": _deletion(ref.name)} if ref.name in self._there else None


def stateful_set(**spec: Any) -> dict[str, Any]:
    templates = [{"metadata": {"name": "data"}}, {"metadata": {"name": "wal"}}, {}, 1]
    spec = {"volumeClaimTemplates": templates, **spec}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}


def secret(policy: str = "keep") -> dict[str, Any]:
    meta = {"name": "password", "annotations": {"helm.sh/resource-policy": policy}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta}


DELETED = {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}


@pytest.mark.parametrize(
    ("rendered", "there", "sentence"),
    [
        ([stateful_set()], ["data-db-0"], f"; PersistentVolumeClaim apps/data-db-0 is kept with the data {PASSWORDS}"),
        (
            [stateful_set()],
            ["data-db-0", "wal-db-12", "data-db", "data-db-x", "data-dbx-0"],
            f"; PersistentVolumeClaim apps/data-db-0, PersistentVolumeClaim apps/wal-db-12 are kept with the data {PASSWORDS}",
        ),
        ([stateful_set(**DELETED)], ["data-db-0"], ""),
        ([stateful_set()], ["data-db-99"], ""),
        ([stateful_set(volumeClaimTemplates=None)], ["data-db-0"], ""),
        ([secret()], ["password"], "; Secret apps/password is kept by helm.sh/resource-policy"),
        ([secret(" Keep ")], ["password"], "; Secret apps/password is kept by helm.sh/resource-policy"),
        ([secret()], [], ""),
        ([secret("delete")], ["password"], ""),
        ([{"kind": "Odd", "metadata": []}], [], ""),
        ([], ["data-db-0"], ""),
    ],
)
async def test_what_is_still_there_is_named(rendered: list[dict[str, Any]], there: list[str], sentence: str) -> None:
    cluster = cast("Any", FakeCluster(*there))
    assert await kept_objects(cluster, rendered, namespace="apps") == sentence


async def test_what_was_spared_is_not_named_again() -> None:
    """The stored manifest gives it the annotation too."""
    cluster = cast("Any", FakeCluster("password"))
    spared = [ObjectRef("v1", "Secret", "password", "apps")]
    assert await kept_objects(cluster, [secret()], namespace="apps", spared=spared) == ""


async def test_what_cannot_be_read_is_not_named() -> None:
    """An uninstall has succeeded by then."""
    assert await kept_objects(cast("Any", FakeCluster(forbidden=True)), [stateful_set()], namespace="apps") == ""


async def test_many_are_counted() -> None:
    cluster = cast("Any", FakeCluster(*(f"data-db-{number}" for number in range(9))))
    found = await kept_objects(cluster, [stateful_set()], namespace="apps")
    assert "data-db-4 and 4 more are kept with the data" in found
