"""How much of the objects that an action is about is held at once: a tenant may make thousands, with a megabyte each."""

from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle.actions import backups, expressions
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import FakeCluster, bench

SELECTOR = {"matchLabels": {"app": "x"}}
OBJECTS = {"kind": "ConfigMap", "selector": SELECTOR}


def config(name: str, text: str = "", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": name, "labels": {"app": "x"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": text}, **more}


class Keeping(FakeCluster):
    """Notes what was kept."""

    kept: list[dict[str, Any]]

    async def list(self, *kind: Any, **options: Any) -> list[dict[str, Any]]:
        self.kept = await super().list(*kind, **options)
        return self.kept


async def test_expressions_keep_no_more_than_can_enter_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that as text: what a megabyte of it stands for may take thirty in memory."""
    large = "x" * (expressions.MAX_BYTES // 4)
    cluster = Keeping(stored(*(config(f"c{number}", large) for number in range(20))).objects)
    verb = {"expect": {**OBJECTS, "expr": "objects.all(o, o.metadata.name != '')"}}
    texts: list[int] = []
    visible = expressions.visible
    monkeypatch.setattr(expressions, "visible", lambda item: texts.append(1) or visible(item))

    with pytest.raises(LifecycleError, match="its data has more than 1024 KiB"):
        await once(verb, on=bench(cluster=cluster))

    assert len(cluster.kept) == 20
    assert all("data" not in each for each in cluster.kept)
    assert len(texts) == 4


@pytest.mark.parametrize(
    "verb",
    [
        {"exists": {**OBJECTS, "count": 2}},
        {"label": {**OBJECTS, "labels": {"team": "web", "app": "x"}}},
        {"delete": {**OBJECTS, "max": 100}},
        {"delete": {**OBJECTS, "max": 100, "when": {"expr": "object.data.a == 'large'"}}},
    ],
    ids=["exists", "label", "delete", "delete by an expression"],
)
async def test_verbs_that_need_little_keep_little(verb: dict[str, Any]) -> None:
    cluster = Keeping(stored(config("a", "large"), config("b", "large")).objects)

    await once(verb, on=bench(cluster=cluster))

    assert all("data" not in each for each in cluster.kept)


@pytest.mark.parametrize(
    "objects",
    [[config(f"c{number}", "x" * 100) for number in range(20)], [config("c", more=[[] for _ in range(60)])]],
    ids=["bytes", "containers"],
)
async def test_the_objects_of_a_backup_have_a_bound(
    objects: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All together, whichever of its selectors they match."""
    monkeypatch.setattr(backups, "MAX_UNPACKED", 2000)
    monkeypatch.setattr(backups, "MAX_CONTAINERS", 50)
    on = bench(cluster=stored(*objects))

    with pytest.raises(LifecycleError, match="The objects to save have more than") as failed:
        await once({"backup": {"objects": [{"kind": "ConfigMap", "name": "c1"}, OBJECTS]}}, on=on)

    assert failed.value.hint == "Write a narrower selector."
    assert on.cluster.applied == []


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ({"delete": {**OBJECTS, "max": 9}}, "Deleted 2 ConfigMap"),
        ({"label": {**OBJECTS, "labels": {"team": "web"}}}, "Labelled 2 ConfigMap"),
    ],
    ids=["delete", "label"],
)
async def test_what_a_profile_sees_is_counted(verb: dict[str, Any], message: str) -> None:
    """Its account may see what the tenant, who reads the message, may not."""
    on = bench(cluster=stored(config("a"), config("b")))
    done = await once(verb, on=on, foreign=True)
    assert done.message == message
