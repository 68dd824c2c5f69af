"""`apply` writes objects by server-side apply, all of them checked before the first."""

from typing import Any

import pytest

from managedchart_operator.errors import KubeError, LifecycleError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once
from unit.lifecycle.fakes import Bench, bench

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v", "empty": ""}}
APPLY: dict[str, Any] = {"apply": {"manifest": CONFIG}}
FILES: dict[str, Any] = {"apply": {"fromChart": "files/*.yaml"}}
CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b.c"}}
REF = ObjectRef("v1", "ConfigMap", "a", "apps")


def refusal(answer: str, *, status: int = 409) -> KubeError:
    return KubeError(answer, reason=Reason.API_UNAVAILABLE, transient=True, status=status, answer=answer)


def with_files(*objects: dict[str, Any]) -> Bench:
    on = bench()
    on.context.facts.files["files/*.yaml"] = list(objects)  # type: ignore[attr-defined]
    return on


async def test_applies_in_the_releases_namespace() -> None:
    on = bench()

    assert (await once(APPLY, on=on)).message == "Applied ConfigMap apps/a"
    again = (await once(APPLY, on=on)).message

    assert again == "Applied ConfigMap apps/a"
    assert on.cluster.objects[REF]["data"] == CONFIG["data"]
    assert on.cluster.objects[REF]["metadata"]["resourceVersion"] == "1"
    (_, _, query), _ = on.cluster.applied
    assert (query["fieldManager"], query["force"]) == ("managedchart-action", "false")


async def test_takes_fields_over_only_with_force() -> None:
    on = bench()
    await once({"apply": {**APPLY["apply"], "force": True}}, on=on)

    assert on.cluster.applied[0][2]["force"] == "true"


async def test_a_conflict_names_fields_and_owner() -> None:
    on = bench()
    on.cluster.refuses[REF] = refusal('Apply failed with 1 conflict: conflict with "kubectl": .data.k')

    with pytest.raises(LifecycleError) as raised:
        await once(APPLY, on=on)

    assert raised.value.message == (
        "ConfigMap apps/a: other field managers own fields that the action sets: kubectl owns .data.k"
    )
    assert raised.value.hint == "Leave these fields out, or set force: true to take them over."


async def test_data_of_a_secret_is_in_no_message() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "stringData": {"token": "hunter22-secret"},
    }
    on = bench()
    on.cluster.refuses[ObjectRef("v1", "Secret", "a", "apps")] = refusal(
        'Secret "a" is odd: "hunter22-secret" is too weak', status=422
    )

    with pytest.raises(LifecycleError, match="The API server refuses Secret apps/a") as raised:
        await once({"apply": {"manifest": secret}}, on=on)

    assert "hunter22" not in raised.value.message


async def test_applies_the_objects_in_the_charts_files() -> None:
    on = with_files(CONFIG, {**CONFIG, "metadata": {"name": "b", "namespace": "other"}})

    assert (await once(FILES, on=on)).message == "Applied ConfigMap apps/a, ConfigMap other/b"


async def test_a_definition_in_the_files_stops_all() -> None:
    on = with_files(CONFIG, CRD)

    with pytest.raises(
        LifecycleError, match=r"files/\*.yaml has the CustomResourceDefinition a.b.c; nothing is applied"
    ):
        await once(FILES, on=on)

    assert on.cluster.applied == []


async def test_cannot_change_its_own_managedchart() -> None:
    """A changed spec would start the run again, for ever."""
    own = {"apiVersion": "managedchart.dev/v1alpha1", "kind": "ManagedChart", "metadata": {"name": "web"}, "spec": {}}
    on = bench()

    with pytest.raises(LifecycleError, match="ManagedChart apps/web is the ManagedChart of this action"):
        await once({"apply": {"manifest": own}}, on=on)

    assert on.cluster.applied == []


async def test_a_dry_run_lets_the_api_server_check() -> None:
    on = bench()

    assert (await once(APPLY, on=on, preview=True)).message == "Would apply ConfigMap apps/a"
    assert on.cluster.applied[0][2]["dryRun"] == "All"
    assert on.cluster.objects == {}


async def test_a_dry_run_does_not_miss_what_the_run_would_create() -> None:
    on = bench()
    on.cluster.refuses[REF] = KubeError("", reason=Reason.NAMESPACE_NOT_FOUND, transient=True, status=404)

    assert (await once(APPLY, on=on, preview=True)).message == (
        "Cannot check ConfigMap a: its kind or namespace does not exist yet"
    )


@pytest.mark.parametrize(
    ("apply", "problem"),
    [
        ({}, "set exactly one of manifest and fromChart"),
        ({"manifest": CONFIG, "fromChart": "a.yaml"}, "set exactly one of manifest and fromChart"),
        ({"manifest": "text"}, r"apply.manifest: "),
        ({"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}, "apply.manifest.metadata: this field is required"),
        ({"manifest": CRD}, "applied by the verb applyCRDs"),
        ({"fromChart": "../other/*.yaml"}, "write a path in the chart"),
        ({"fromChart": "/etc/passwd"}, "apply.fromChart: "),
        ({"fromChart": "templates/*.yaml"}, "templates are rendered by helm"),
    ],
)
async def test_refuses_before_anything_runs(apply: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        await once({"apply": apply}, on=bench())
