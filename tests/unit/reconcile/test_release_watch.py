"""A change of a release outside the operator reconciles its resource; the operator's own runs do not."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.api.resource import Key
from managedchart_operator.helm.storage import revision_of
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.scope import Scope
from managedchart_operator.reconcile import release_watch
from managedchart_operator.reconcile.release_watch import ReleaseWatch
from managedchart_operator.reconcile.store import Store
from unit.reconcile.fakes import chart


class FakeScheduler:
    """Notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Key] = []
        self.busy = False

    def running(self, _: Key) -> bool:
        return self.busy

    def request(self, key: Key) -> None:
        self.asked.append(key)


def secret(revision: int, status: str, name: str = "web", namespace: str = "default") -> dict[str, Any]:
    labels = {"name": name, "version": str(revision), "status": status, "owner": "helm"}
    return {"name": f"sh.helm.release.v1.{name}.v{revision}", "namespace": namespace, "labels": labels}


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def watch(scheduler: FakeScheduler) -> ReleaseWatch:
    store = Store()
    store.put(chart("web", namespace="default", spec={}, status={"release": {"revision": 2, "status": "deployed"}}))
    found = ReleaseWatch(store, scheduler)  # type: ignore[arg-type]
    found.listed([])
    return found


@pytest.mark.parametrize(("revision", "status"), [(3, "deployed"), (3, "pending-upgrade"), (2, "failed")])
def test_a_change_unknown_to_the_status_reconciles(
    watch: ReleaseWatch, scheduler: FakeScheduler, revision: int, status: str
) -> None:
    watch.changed(secret(revision, status))
    assert scheduler.asked == [Key("default", "web")]


@pytest.mark.parametrize(("revision", "status"), [(2, "deployed"), (1, "superseded")])
def test_known_and_older_revisions_are_ignored(
    watch: ReleaseWatch, scheduler: FakeScheduler, revision: int, status: str
) -> None:
    watch.changed(secret(revision, status))
    assert scheduler.asked == []


def test_changes_during_a_run_are_compared_afterwards(watch: ReleaseWatch, scheduler: FakeScheduler) -> None:
    """A helm by hand that ended while we looked at its lock is not forgotten."""
    scheduler.busy = True
    watch.changed(secret(3, "pending-upgrade"))
    watch.changed(secret(3, "deployed"))
    assert scheduler.asked == []
    scheduler.busy = False
    watch.run_ended(Key("default", "web"))
    assert scheduler.asked == [Key("default", "web")]


def test_the_operators_own_run_is_ignored(watch: ReleaseWatch, scheduler: FakeScheduler) -> None:
    scheduler.busy = True
    watch.changed(secret(2, "pending-upgrade"))
    watch.changed(secret(2, "deployed"))
    scheduler.busy = False
    watch.run_ended(Key("default", "web"))
    assert scheduler.asked == []


def test_a_deleted_release_reconciles_unlike_a_pruned_revision(watch: ReleaseWatch, scheduler: FakeScheduler) -> None:
    watch.removed(secret(1, "superseded"))
    assert scheduler.asked == []
    watch.removed(secret(2, "deployed"))
    assert scheduler.asked == [Key("default", "web")]


def test_a_lost_watch_compares_everything(watch: ReleaseWatch, scheduler: FakeScheduler) -> None:
    watch.listed([{"metadata": secret(2, "deployed")}])
    assert scheduler.asked == []
    watch.listed([])
    assert scheduler.asked == [Key("default", "web")]


def test_releases_of_nobody_are_ignored(watch: ReleaseWatch, scheduler: FakeScheduler) -> None:
    watch.changed(secret(7, "deployed", name="foreign"))
    assert scheduler.asked == []


async def test_each_namespace_is_followed_apart(
    api: FakeApiServer, client: KubeClient, scheduler: FakeScheduler
) -> None:
    """What a list of one namespace lacks says nothing about the other, and one that refuses does not stop the other."""
    store = Store()
    for namespace in ("team-a", "team-b"):
        status = {"release": {"revision": 2, "status": "deployed"}}
        store.put(chart("web", namespace=namespace, spec={}, status=status))
    watched = asyncio.Event()

    async def secrets(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})
        if watched.is_set():
            await asyncio.Event().wait()
        watched.set()
        return web.json_response(refusal("too old resource version", 410), status=410)

    api.answers["GET", "/api/v1/namespaces/team-a/secrets"] = secrets
    api.answers["GET", "/api/v1/namespaces/team-b/secrets"] = (403, refusal("is forbidden", 403))
    watch = ReleaseWatch(store, scheduler, Scope(("team-b", "team-a")))  # type: ignore[arg-type]
    follow = asyncio.create_task(watch.follow(client))
    async with asyncio.timeout(10):
        while not scheduler.asked:  # noqa: ASYNC110 -- the scheduler of the test has no event
            await asyncio.sleep(0.01)
    follow.cancel()
    assert await asyncio.gather(follow, return_exceptions=True)
    assert scheduler.asked == [Key("team-a", "web")]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("watch of releases")]


@pytest.mark.parametrize(
    ("spec", "attempt"),
    [
        ({"action": "Skip"}, {}),
        ({}, {"generation": 1, "reason": "ReleaseOwned", "outlook": "Change"}),
        ({}, {"generation": 1, "reason": "Forbidden", "outlook": "Change"}),
    ],
)
def test_those_that_only_name_a_release_have_no_pass(
    scheduler: FakeScheduler, spec: dict[str, Any], attempt: dict[str, Any]
) -> None:
    """S16: a team may have thousands that name the release of another one, which each of its revisions would wake."""
    store = Store()
    store.put(chart("web", namespace="default", spec=spec, status={"attempt": attempt}))
    watch = ReleaseWatch(store, scheduler)  # type: ignore[arg-type]
    watch.changed(secret(1, "deployed"))
    assert scheduler.asked == []


def test_a_change_costs_little_however_many_name_the_release(
    scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may change a release Secret could do that 50 times a second: 5,000 claims took 0.1 s each time."""
    store, read = Store(), list[str]()
    for number in range(20):
        store.put(chart(f"web-{number}", namespace="default", spec={"releaseName": "web"}))
    found = ReleaseWatch(store, scheduler)  # type: ignore[arg-type]
    monkeypatch.setattr(
        release_watch, "revision_of", lambda metadata: read.append(metadata["name"]) or revision_of(metadata)
    )
    found.changed(secret(1, "deployed"))
    found.removed(secret(1, "deployed"))
    assert len(read) == 2
    found.changed(secret(1, "deployed", name="of-nobody"))
    assert len(read) == 2
