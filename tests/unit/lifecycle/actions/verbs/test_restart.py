"""`restart` makes new pods once for one change."""

from dataclasses import replace

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle.actions.verbs.restart import ANNOTATION
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import CHART, Bench, bench

DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "dns"}, "spec": {"template": {}}}
RESTART = {"restart": {"kind": "Deployment", "name": "dns"}}
WATCHING = {"restart": {**RESTART["restart"], "ifChanged": [{"kind": "ConfigMap", "name": "dns"}]}}


def config(text: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dns"}, "data": {"Corefile": text}}


def stamp(on: Bench) -> str:
    (found,) = (each for ref, each in on.cluster.objects.items() if ref.kind == "Deployment")
    value: str = found["spec"]["template"]["metadata"]["annotations"][ANNOTATION]
    return value


async def test_restarts_once_for_one_revision() -> None:
    """A run that a restarted operator repeats must not make the pods anew."""
    on = bench(cluster=stored(DEPLOYMENT))

    first = await once(RESTART, on=on)
    second = await once(RESTART, on=on)

    assert first.message == "Restarted Deployment apps/dns"
    assert second.message == "Deployment apps/dns was restarted for this change already"
    assert len(on.cluster.written) == 1
    assert on.cluster.written[0][2]["fieldManager"] == "managedchart-action"


async def test_nothing_that_the_tenant_wrote_is_written_for_a_profile() -> None:
    """The word of a revision is a label of its Secret, which is in the tenant's namespace."""
    on = bench(cluster=stored(DEPLOYMENT), stamp="chosen-by-the-tenant")

    await once(RESTART, on=on, foreign=True)

    assert "chosen" not in stamp(on)
    assert (await once(RESTART, on=on, foreign=True)).message.endswith("was restarted for this change already")


async def test_restarts_for_the_next_revision() -> None:
    cluster = stored(DEPLOYMENT)
    await once(RESTART, on=bench(cluster=cluster))

    await once(RESTART, on=bench(cluster=cluster, stamp="a2"))

    assert len(cluster.written) == 2


async def test_restarts_only_for_changed_data() -> None:
    before = bench(cluster=stored(DEPLOYMENT, config("old")))
    await once(WATCHING, on=before)
    old = stamp(before)
    after = bench(cluster=stored(DEPLOYMENT, config("new")), stamp="a2")
    await once(WATCHING, on=after)
    same = bench(cluster=before.cluster, stamp="a3")

    assert stamp(after) != old
    assert (await once(WATCHING, on=same)).message.endswith("already")


async def test_a_missing_workload_is_named() -> None:
    with pytest.raises(LifecycleError, match="Deployment apps/dns does not exist") as failed:
        await once(RESTART, on=bench())

    assert failed.value.hint == "Correct name and namespace in the action: kubectl --namespace apps get deployment.apps"


async def test_a_dry_run_changes_nothing() -> None:
    on = bench(cluster=stored(DEPLOYMENT))

    done = await once(RESTART, on=on, preview=True)

    assert done.message == "Would restart Deployment apps/dns"
    assert on.cluster.written == []


async def test_the_next_uninstall_is_another_change() -> None:
    """There is no revision after either of them."""
    first = bench(cluster=stored(DEPLOYMENT), stamp="")
    await once(RESTART, on=first, phase=Phase.POST_DELETE)
    old = stamp(first)
    context = replace(first.context, chart=replace(CHART, generation=CHART.generation + 2))
    await once(RESTART, on=replace(first, context=context), phase=Phase.POST_DELETE)

    assert stamp(first) != old


async def test_the_data_of_a_secret_cannot_be_guessed_from_the_annotation() -> None:
    found = []
    for account in ("uid-1", "uid-2"):
        on = bench(cluster=stored(DEPLOYMENT, config("short")))
        await once(WATCHING, on=on, foreign=True, account=account)
        found.append(stamp(on))
    assert found[0] != found[1]
