"""`adopt` gives existing objects to the release, all of them or none."""

from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import KubeError, LifecycleError, OperatorError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.running import BoundAction
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.lifecycle.with_actions import WithActions
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once, run, stored
from unit.lifecycle.fakes import Bench, FakeCluster, bench

ADOPT: dict[str, Any] = {
    "adopt": {"objects": [{"kind": "ConfigMap", "name": "dns"}, {"kind": "Service", "name": "dns"}]}
}
STRICT = {"adopt": {**ADOPT["adopt"], "ifMissing": "Fail"}}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns", "resourceVersion": "7"}}


def config(**annotations: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dns", "annotations": annotations}}


async def adopt(on: Bench, verb: dict[str, Any] = ADOPT, *, preview: bool = False) -> str:
    return (await once(verb, on=on, phase=Phase.PRE_EXEC, preview=preview)).message


async def test_marks_what_is_there_once() -> None:
    on = bench(cluster=stored(config(), SERVICE))

    assert await adopt(on) == "Adopted ConfigMap apps/dns, Service apps/dns"
    assert await adopt(on) == "There is nothing to adopt"

    found = on.cluster.objects[ObjectRef("v1", "Service", "dns", "apps")]["metadata"]
    assert found["labels"] == {"app.kubernetes.io/managed-by": "Helm"}
    assert found["annotations"]["meta.helm.sh/release-name"] == "web"
    assert len(on.cluster.written) == 2
    assert on.cluster.written[0][2]["fieldManager"] == "managedchart-action"


async def test_continues_after_a_kill() -> None:
    """The first object was marked before the operator was killed."""
    on = bench(cluster=stored(config(), SERVICE))
    await adopt(on, {"adopt": {"objects": [{"kind": "ConfigMap", "name": "dns"}]}})

    assert await adopt(on) == "Adopted Service apps/dns"


async def test_an_object_of_another_release_stops_all() -> None:
    on = bench(cluster=stored(SERVICE, config(**{"meta.helm.sh/release-name": "other"})))

    with pytest.raises(LifecycleError, match=r"ConfigMap apps/dns belongs to the release \?/other") as raised:
        await adopt(on)

    assert raised.value.reason is Reason.OBJECT_OWNED
    assert not raised.value.transient
    assert on.cluster.written == []


async def test_missing_objects_are_left_to_the_chart_or_refused() -> None:
    assert await adopt(bench(cluster=stored(SERVICE))) == "Adopted Service apps/dns"
    with pytest.raises(LifecycleError, match="ConfigMap apps/dns does not exist"):
        await adopt(bench(cluster=stored(SERVICE)), STRICT)


CONFLICT = KubeError("409", reason=Reason.API_UNAVAILABLE, transient=True, status=409, answer="it was modified")


class Raced(FakeCluster):
    """Another release takes the Service between the look and the mark."""

    async def request(self, method: str, path: str, **options: Any) -> Any:
        found = self.objects[self.paths[path]]["metadata"]
        if found["resourceVersion"] == "7":
            found |= {"resourceVersion": "8", "annotations": {"meta.helm.sh/release-name": "other"}}
        if options["body"]["metadata"]["resourceVersion"] != found["resourceVersion"]:
            raise CONFLICT
        return await super().request(method, path, **options)


async def test_what_another_release_takes_meanwhile_is_left() -> None:
    on = bench(cluster=Raced(stored(SERVICE).objects))

    with pytest.raises(OperatorError, match="belongs to the release"):
        await adopt(on)

    annotations = on.cluster.objects[ObjectRef("v1", "Service", "dns", "apps")]["metadata"]["annotations"]
    assert annotations == {"meta.helm.sh/release-name": "other"}


async def test_a_dry_run_marks_nothing() -> None:
    on = bench(cluster=stored(config()))

    assert await adopt(on, preview=True) == "Would adopt ConfigMap apps/dns"
    assert on.cluster.written == []


async def test_only_before_exec() -> None:
    """Afterwards helm has refused the objects already."""
    with pytest.raises(SpecError, match="adopt cannot be in phase PostExec: use PreExec"):
        await run(ADOPT, phase=Phase.POST_EXEC)


@pytest.mark.parametrize(("there", "ignores"), [(True, True), (False, False)])
async def test_helms_dry_run_does_not_miss_the_marks(*, there: bool, ignores: bool) -> None:
    """It would refuse the object that the run itself adopts before helm looks at it."""
    on = bench(cluster=stored(*([config()] if there else [])), operation=Operation.DRY_RUN)
    actions = await read_actions([{"name": "it", "phase": "PreExec", **ADOPT}])

    await WithActions(Lifecycle(), [BoundAction(each) for each in actions]).run(on.context)

    assert on.release.upgrade_options == {"take_ownership": ignores}
