"""Nothing that a tenant writes or can change enters an action that runs as the account of a profile.

By a chart with the CRDs of everybody in crds/, for example, the tenant would choose what that account deletes.
"""

from pathlib import Path
from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import LifecycleError, SpecError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.lifecycle.actions import verbs
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import bench
from unit.lifecycle.profiles.samples import profile

ACCOUNT = {"name": "checker", "namespace": "platform"}
PODS = {"kind": "Pod", "name": "a"}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
CRDS = {"group": "example.com", "confirmDataLoss": True}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "names": {"kind": "Widget", "plural": "widgets"}, "versions": []},
}
ENTERS = "and nothing of that may enter an action that runs as the serviceAccount of a profile"
MOVE = "move the action into a profile without serviceAccount"

NEEDS: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"phase": "PostDelete", "deleteCRDs": CRDS},
        "deleteCRDs.onlyOf",
        "the tenant writes what the release brings",
        f"set onlyOf: Anyone if these CRDs are to be deleted whoever created them, or {MOVE}",
    ),
    (
        {"phase": "PreExec", "apply": {"fromChart": "files/*.yaml"}},
        "apply.fromChart",
        "the tenant writes the files of the chart",
        f"write the object as manifest, or {MOVE}",
    ),
    (
        {"phase": "PreExec", "applyCRDs": {}},
        "applyCRDs",
        "the tenant writes the files of the chart",
        f"write the CRDs as manifests, or {MOVE}",
    ),
    (
        {"phase": "PreExec", "applyCRDs": {"fromChart": "files/*.yaml"}},
        "applyCRDs.fromChart",
        "the tenant writes the files of the chart",
        f"write the CRDs as manifests, or {MOVE}",
    ),
    ({"phase": "PostExec", "helmTest": {}}, "helmTest", "the tenant writes the tests of the chart", MOVE),
    (
        {"phase": "PreExec", "backup": {"objects": [PODS]}},
        "backup",
        "the tenant can change what is saved before it is restored",
        MOVE,
    ),
    (
        {"phase": "PostExec", "restore": {"from": "a"}},
        "restore",
        "the tenant can change what is saved before it is restored",
        MOVE,
    ),
]
SAVED = {"name": "a", "phase": "PreExec", "backup": {"objects": [PODS]}}


def with_backup(action: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an action, after the one that it needs."""
    return [*([SAVED] if "restore" in action else []), {"name": "x", **action}]


VERBS = pytest.mark.parametrize(("action", "field", "why", "remedy"), NEEDS, ids=lambda value: str(value)[:40])


@VERBS
async def test_such_a_profile_is_invalid_when_it_is_read(
    action: dict[str, Any], field: str, why: str, remedy: str
) -> None:
    """Not only when the action runs, which for a PostDelete is years later."""
    fine = {"name": "fine", "phase": "PreExec", "apply": {"manifest": CONFIG_MAP}}
    read = await profile("p", serviceAccount=ACCOUNT, actions=[fine, {"name": "x", **action}])

    assert read.error is not None
    assert read.error.reason is Reason.LIFECYCLE_INVALID
    assert f"spec.actions[1] (x): {field}: {why}, {ENTERS}: {remedy}" in read.error.message
    assert (await profile("p", actions=[fine, *with_backup(action)])).error is None


@VERBS
@pytest.mark.parametrize("operation", [Operation.UPGRADE, Operation.DRY_RUN])
async def test_such_an_action_does_not_run(
    action: dict[str, Any], field: str, why: str, remedy: str, operation: Operation
) -> None:
    """The second line: it says the same, and asks nobody for anything."""
    *_, read = await read_actions(with_backup(action))
    on, phase = bench(operation=operation), Phase(read.phase.value)

    with pytest.raises(LifecycleError) as raised:
        await run_actions([BoundAction(read, "profile/p", Identity("platform", "checker"))], phase, on.context, {})

    verb = field.partition(".")[0]
    assert raised.value.message == f"Action x ({verb}) of profile/p failed: {why[:1].upper()}{why[1:]}, {ENTERS}"
    assert (raised.value.reason, raised.value.transient) == (Reason.LIFECYCLE_INVALID, False)
    assert raised.value.hint == f"{remedy[:1].upper()}{remedy[1:]}."


@pytest.mark.parametrize(
    "action",
    [
        {"phase": "PostDelete", "deleteCRDs": {**CRDS, "onlyOf": "Anyone"}},
        {"phase": "PreExec", "applyCRDs": {"manifests": [CRD]}},
        {"phase": "PreExec", "apply": {"manifest": CONFIG_MAP}},
    ],
    ids=str,
)
async def test_what_the_profile_itself_says_may_enter(action: dict[str, Any]) -> None:
    read = await profile("p", serviceAccount=ACCOUNT, actions=[{"name": "x", **action}])

    assert read.error is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("release.name == 'a' && release.namespace != 'b'", ""),
        ("has(spec.wait)", "line 1, column 4: undeclared reference to 'spec.wait'"),
        ("spec.wait", "line 1, column 5: undeclared reference to 'spec.wait'"),
        ("payload.size() == 0", "line 1, column 1: undeclared reference to 'payload'"),
        ("release.operation == 'Install'", "line 1, column 8: undeclared reference to 'release.operation'"),
        ("release.chart.version == '1'", "line 1, column 14: undeclared reference to 'release.chart.version'"),
        ("[1].exists(spec, spec == 1)", ""),
    ],
)
@pytest.mark.parametrize("place", ["when.expr", "expect.expr", "delete.when.expr", "metric.expr"])
async def test_an_expression_sees_only_the_names_of_the_release(place: str, text: str, wrong: str) -> None:
    """Without this has() would be false at run time whatever the ManagedChart says, and the action would be skipped."""
    action: dict[str, Any] = {
        "when.expr": {"when": {"expr": text}, "exists": {"kind": "Node"}},
        "expect.expr": {"expect": {**PODS, "expr": text}},
        "delete.when.expr": {"delete": {**PODS, "when": {"expr": text}}},
        "metric.expr": {"metric": {"service": "a", "port": "web", "query": "up", "expr": text}},
    }[place]
    actions = [{"name": "x", "phase": "PostExec", **action}]
    read = await profile("p", serviceAccount=ACCOUNT, actions=actions)

    assert (await profile("p", actions=actions)).error is None
    message = read.error.message if read.error else ""
    assert message.startswith(f"spec.actions[0] (x).{place}: {wrong}" if wrong else "")
    assert bool(message) is bool(wrong)
    assert not wrong or message.endswith(
        ": as the profile has a serviceAccount, the expression sees nothing of the ManagedChart except release.name and"
        " release.namespace"
    )


async def test_an_expression_sees_its_objects() -> None:
    expect = {**PODS, "expr": "objects.all(o, o.metadata.namespace == release.namespace)"}

    (read,) = await read_actions([{"name": "x", "phase": "PostExec", "expect": expect}], foreign=True)

    assert read.name == "x"


async def test_the_actions_of_a_managedchart_may_use_everything() -> None:
    for action, *_ in NEEDS:
        await read_actions(with_backup(action))
    with pytest.raises(SpecError):
        await read_actions([{"name": "x", "phase": "PostExec", "helmTest": {}}], foreign=True)


def test_no_verb_decides_that_itself() -> None:
    """A new verb declares what it needs (`tenant_data`), so that a profile with it is refused when it is read."""
    (folder,) = verbs.__path__
    for file in Path(folder).glob("*.py"):
        text = file.read_text()
        assert "if scene.foreign:" not in text, file.name
        if "context.extras" in text or "chart_objects" in text or "backups import" in text:
            assert "def tenant_data" in text, file.name
