"""What is wrong with actions is reported with its field and the remedy, before anything runs."""

from typing import Any

import pytest

from managedchart_operator.errors import SpecError
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.reasons import Reason

NODES = {"name": "nodes", "phase": "CheckPrerequisites", "exists": {"kind": "Node"}}


async def problem_of(*actions: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as found:
        await read_actions(actions)
    assert found.value.reason is Reason.LIFECYCLE_INVALID
    assert found.value.hint is not None
    return found.value.message


async def test_reads_an_action() -> None:
    (action,) = await read_actions([{**NODES, "timeout": "5m", "retries": 2, "onError": "Continue"}])

    assert (action.name, action.seconds, action.retries, action.on_error) == ("nodes", 300, 2, "Continue")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"exists": {"kind": "Node", "selektor": {}}},
            "(nodes).exists.selektor: there is no such field: correct its name to selector",
        ),
        ({"tiemout": "5m"}, "(nodes).tiemout: there is no such field: correct its name to timeout"),
        ({"expect": {"kind": "Node", "name": "a", "expr": "true"}}, "(nodes): set exactly one of "),
        ({"exists": None}, "(nodes): set exactly one of "),
        ({"helmTest": None, "exists": None}, "one without fields needs braces, like helmTest: {}"),
        ({"exists": {}}, "(nodes).exists.kind: this field is required"),
        (
            {"exists": {"kind": "Certificate"}},
            "kind Certificate is not one of Kubernetes itself: correct its name, or add its apiVersion",
        ),
        ({"exists": {"kind": "Node", "selector": {}}}, "exists.selector: the selector matches everything"),
        ({"phase": "Exec"}, "(nodes).phase: "),
        ({"when": {"expr": "release.name =="}}, "(nodes).when.expr: "),
        (
            {"when": {"expr": "relaese.name == 'x'"}},
            "(nodes).when.expr: line 1, column 8: undeclared reference to 'relaese.name'; it can use release, spec, payload",
        ),
        ({"backoff": "0s"}, "(nodes).backoff: "),
    ],
    ids=str,
)
async def test_names_field_and_remedy(change: dict[str, Any], expected: str) -> None:
    assert expected in await problem_of({**NODES, **change})


async def test_a_writing_verb_cannot_validate() -> None:
    restart = {"name": "r", "phase": "Validate", "restart": {"kind": "Deployment", "name": "web"}}

    assert "restart cannot be in phase Validate: use CheckPrerequisites or " in await problem_of(restart)


async def test_restore_names_a_backup_of_the_list() -> None:
    """A misspelt name would restore nothing, and succeed."""
    backup = {"name": "saved", "phase": "PreExec", "backup": {"objects": [{"kind": "ConfigMap", "name": "a"}]}}
    restore = {"name": "again", "phase": "PostExec", "restore": {"from": "safed"}}

    assert await problem_of(backup, restore) == (
        "spec.lifecycle.actions[1] (again).restore.from: no backup action is named safed: the list has saved"
    )
    assert (await problem_of(restore)).endswith("no backup action is named safed: the list has none")


async def test_each_name_once() -> None:
    assert "two actions have the name nodes" in await problem_of(NODES, NODES)


async def test_an_expression_that_does_not_compile_has_its_position() -> None:
    text = await problem_of({"name": "e", "phase": "Validate", "expect": {"kind": "Pod", "name": "a", "expr": "1 +"}})

    assert text.startswith("spec.lifecycle.actions[0] (e).expect.expr: ")
    assert "line 1, column 4: Syntax error" in text


@pytest.mark.parametrize("fields", [{f"k{number}": 1 for number in range(1000)}, {"k" * 100_000: 1}])
async def test_unknown_fields_make_no_long_message(fields: dict[str, int]) -> None:
    """The API server keeps as many as a megabyte has room for."""
    assert len(await problem_of({**NODES, "exists": {"kind": "Node", **fields}})) < 1000
