"""Runs one action, or several, on the fakes of lifecycles."""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.api.status import Phase
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.registry import verb_of
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.lifecycle.actions.verb import Done
from unit.lifecycle.fakes import Bench, FakeCluster, bench


def stored(*objects: Mapping[str, Any], namespace: str = "apps") -> FakeCluster:
    """Return a cluster with these objects; `namespace` is that of the objects that name none."""
    refs = {}
    for each in objects:
        meta = each["metadata"]
        ref = ObjectRef(each["apiVersion"], each["kind"], meta["name"], meta.get("namespace", namespace))
        refs[ref] = {**each, "metadata": {**meta, "namespace": ref.namespace}}
    return FakeCluster(refs)


async def run(
    *actions: Mapping[str, Any],
    phase: Phase = Phase.POST_EXEC,
    on: Bench | None = None,
    payload: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Run actions of one phase, named a0, a1, …; returns the payload. Raises OperatorError."""
    raw = [{"name": f"a{number}", "phase": phase.value, **each} for number, each in enumerate(actions)]
    read = [BoundAction(each) for each in await read_actions(raw)]
    return await run_actions(read, phase, (on or bench()).context, payload or {})


async def once(
    verb: Mapping[str, Any],
    *,
    on: Bench,
    phase: Phase = Phase.POST_EXEC,
    preview: bool = False,
    foreign: bool = False,
    account: str = "",
    seconds: float = 60.0,
) -> Done:
    """Run one verb once, or only ask what it would do. Raises OperatorError."""
    raw = [{"name": "it", "phase": phase.value, **verb}]
    if "restore" in verb:  # is refused without the backup action that it names
        objects = [{"kind": "ConfigMap", "name": "a"}]
        saved = {"name": verb["restore"]["from"], "phase": phase.value, "backup": {"objects": objects}}
        raw = [{**raw[0], "name": "again"}, saved]
    action, *_ = await read_actions(raw)
    variables = {"release": {"name": "web", "namespace": "apps"}, "spec": {}, "payload": {}}
    own = account if foreign else None
    scene = Scene("it", phase, on.context, on.context.cluster, variables, own, seconds=seconds)
    return await (verb_of(action).preview(scene) if preview else verb_of(action).run(scene))
