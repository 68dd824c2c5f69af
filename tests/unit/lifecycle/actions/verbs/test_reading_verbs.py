"""`exists` and `expect` check objects."""

from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import bench


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "status": {"phase": "Running"},
    }


PODS = [pod("a", app="x"), pod("b", app="x"), pod("c", app="y")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "a"}, "1 Pod a"),
        ({"selector": {"matchLabels": {"app": "x"}}, "count": 2}, "2 Pod with app=x"),
        ({"count": 3}, "3 Pod"),
        ({"name": "z", "count": 0}, "No Pod z"),
    ],
    ids=str,
)
async def test_exists(fields: dict[str, Any], expected: str) -> None:
    done = await once({"exists": {"kind": "Pod", **fields}}, on=bench(cluster=stored(*PODS)))

    assert done.message == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "z"}, "Pod apps/z does not exist"),
        (
            {"selector": {"matchLabels": {"app": "x"}}, "count": 3},
            "Pod with app=x in namespace apps: 2 found, at least 3 needed",
        ),
        ({"name": "a", "count": 0}, "Pod apps/a exists, but must not"),
        ({"selector": {"matchLabels": {"app": "z"}}}, "There is no Pod with app=z in namespace apps"),
        ({"name": "a", "namespace": "other"}, "Pod other/a does not exist"),
    ],
    ids=str,
)
async def test_does_not_exist(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(LifecycleError, match=expected):
        await once({"exists": {"kind": "Pod", **fields}}, on=bench(cluster=stored(*PODS)))


@pytest.mark.parametrize(
    ("action", "command"),
    [
        ({"exists": {"kind": "Pod", "name": "z"}}, "kubectl --namespace apps get pod"),
        (
            {"exists": {"kind": "Pod", "selector": {"matchLabels": {"app": "z"}}}},
            "kubectl --namespace apps get pod --selector=app=z",
        ),
        ({"exists": {"apiVersion": "apps/v1", "kind": "Deployment"}}, "kubectl --namespace apps get deployment.apps"),
        ({"expect": {"kind": "Pod", "name": "a", "expr": "false"}}, "kubectl --namespace apps get pod a -o yaml"),
    ],
    ids=str,
)
async def test_a_failed_check_shows_how_to_look(action: dict[str, Any], command: str) -> None:
    with pytest.raises(LifecycleError) as failed:
        await once(action, on=bench(cluster=stored(*PODS)))

    assert failed.value.hint
    assert failed.value.hint.endswith(f": {command}")


async def test_expect() -> None:
    expr = "objects.all(o, o.status.phase == 'Running') && objects.size() == 2 && release.name == 'web'"
    on = bench(cluster=stored(*PODS))

    done = await once({"expect": {"kind": "Pod", "selector": {"matchLabels": {"app": "x"}}, "expr": expr}}, on=on)

    assert done.message == "True for 2 Pod"


async def test_expect_fails_with_its_expression() -> None:
    with pytest.raises(LifecycleError, match=r"objects\.size\(\) > 1 is false for 1 Pod: Pod apps/a$"):
        await once(
            {"expect": {"kind": "Pod", "name": "a", "expr": "objects.size() > 1"}}, on=bench(cluster=stored(*PODS))
        )


async def test_expect_says_that_there_is_no_object() -> None:
    with pytest.raises(LifecycleError, match=r"is false for 0 Pod: there is no Pod apps/z$"):
        await once({"expect": {"kind": "Pod", "name": "z", "expr": "objects.size() > 0"}}, on=bench())


async def test_expect_of_a_profile_with_an_account_names_no_object() -> None:
    """A tenant reads the message, and may not be allowed to read the objects."""
    with pytest.raises(LifecycleError, match=r"is false for 1 Pod$"):
        await once(
            {"expect": {"kind": "Pod", "name": "a", "expr": "objects.size() > 1"}},
            on=bench(cluster=stored(*PODS)),
            foreign=True,
        )


async def test_expect_sees_no_data_of_secrets() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": "cGFzcw=="}}
    on = bench(cluster=stored(secret))

    done = await once(
        {"expect": {"kind": "Secret", "name": "s", "expr": "!has(objects[0].data) && objects[0].kind == 'Secret'"}},
        on=on,
    )

    assert done.message == "True for 1 Secret"


async def test_an_expression_that_fails_says_why() -> None:
    with pytest.raises(LifecycleError, match=r"expect\.expr cannot be evaluated: .*nothing"):
        await once(
            {"expect": {"kind": "Pod", "name": "a", "expr": "objects[0].nothing == 1"}}, on=bench(cluster=stored(*PODS))
        )
