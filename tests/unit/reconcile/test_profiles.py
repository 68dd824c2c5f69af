"""LifecycleProfiles and the passes over a ManagedChart: what they add, what they block, and what they never begin."""

import asyncio
from typing import Any, cast

import pytest

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.lifecycle.profiles.profile import read_profile
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import shown_lifecycle
from managedchart_operator.reconcile.profile_changes import ProfileChanges
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.validations import Validations
from unit.lifecycle.profiles.samples import FakeNamespaces, body, lifecycles, profile
from unit.reconcile.fakes import chart
from unit.reconcile.world import World

ALL = {"chartNames": ["*"]}
BROKEN = [{"name": "x", "phase": "PreExec"}]


class Clock:
    """A time that only tests let pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def absent(name: str = "quota", phase: str = "PreExec") -> dict[str, Any]:
    """An action that fails: there is no such object."""
    return {"name": name, "phase": phase, "exists": {"kind": "ConfigMap", "name": "nothing"}}


async def deployed(*actions: dict[str, Any]) -> World:
    """A world with a release, and then a profile that is new."""
    world = World()
    world.put()
    await world.reconcile()
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    if actions:
        world.profiles.put(await profile("p", match=ALL, actions=list(actions)))
    return world


async def test_an_attached_check_fails_the_run_before_helm() -> None:
    world = World(profiles=Profiles([await profile("p", match=ALL, actions=[absent()])]))
    world.put(
        {"lifecycle": {"actions": [{"name": "quota", "phase": "PreExec", "exists": {"kind": "Pod", "name": "a"}}]}}
    )
    await world.reconcile()

    assert world.helm.commands == []
    assert world.condition("Ready")["message"] == (
        "Action quota (exists) of profile/p failed: ConfigMap apps/nothing does not exist"
    )
    assert world.status["lifecycle"] == {
        "name": "default",
        "profiles": ["p"],
        "actions": [
            {"name": "quota", "phase": "PreExec", "verb": "exists", "origin": "profile/p"},
            {"name": "quota", "phase": "PreExec", "verb": "exists", "origin": "spec"},
        ],
    }


async def test_a_new_profile_runs_no_helm_and_is_shown() -> None:
    """It is carried out at the next run; nothing is deployed again because of it."""
    world = await deployed(absent())
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["status"] == "True"
    assert [each["origin"] for each in world.status["lifecycle"]["actions"]] == ["profile/p"]
    version = world.api.version
    await world.reconcile()
    assert world.api.version == version  # nothing is written while nothing changes
    world.put({"values": {"a": 1}})
    await world.reconcile()
    assert "of profile/p failed" in world.condition("Ready")["message"]


async def test_nothing_is_written_for_a_status_of_an_earlier_operator() -> None:
    world = await deployed()
    del world.api.status["lifecycle"]
    world.put()
    version = world.api.version
    await world.reconcile()

    assert world.api.version == version


async def test_an_invalid_profile_blocks_the_next_run_only() -> None:
    """A mistake of an administrator disturbs nothing that runs, but nothing is deployed without the profile's checks."""
    world = await deployed()
    world.profiles.put(await profile("p", match=ALL, actions=BROKEN))
    version = world.api.version
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    assert world.api.version == version

    world.put({"values": {"a": 1}})
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "LifecycleInvalid")
    assert ready["message"].startswith("LifecycleProfile p spec.actions[0] (x): set exactly one of")

    world.profiles.put(await profile("p", match=ALL))
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "upgrade"]
    assert world.condition("Ready")["status"] == "True"


async def test_an_invalid_profile_does_not_block_a_deletion() -> None:
    world = await deployed()
    world.profiles.put(await profile("p", match=ALL, actions=BROKEN))
    world.put(deleting=True)
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "uninstall"]
    (message,) = world.event_messages("LifecycleInvalid")
    assert message.startswith("Uninstalling without invalid actions: LifecycleProfile p spec.actions[0] (x): ")


async def test_a_deletion_waits_for_the_correction_of_a_profile() -> None:
    """What is invalid in it may be what saves data."""
    world = await deployed()
    world.profiles.put(await profile("p", match=ALL, actions=[{"name": "x", "phase": "PreDelete"}]))
    world.put(deleting=True)
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    blocked = (
        "An invalid action of PreDelete or PostDelete blocks the uninstall: LifecycleProfile p spec.actions[0] (x): "
    )
    assert world.condition("Ready")["message"].startswith(blocked)
    hint = world.status["lastFailure"]["hint"]
    assert hint.startswith("Ask an administrator to correct LifecycleProfile p, or leave the release: kubectl patch")
    assert "or when LifecycleProfile p changes" in world.condition("Reconciling")["message"]

    world.profiles.put(await read_profile(body("p", generation=2, match=ALL)))
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]


@pytest.mark.parametrize("lacks", [False, True])
async def test_a_refusal_for_a_moment_leaves_no_profile_out_of_a_deletion(*, lacks: bool) -> None:
    """An API server that has just started refuses everybody, and a profile may save data before the uninstall."""
    world = await deployed()
    match = {"namespaces": {"selector": {"matchLabels": {"env": "production"}}}}
    world.profiles.put(await profile("p", match=match, actions=[absent("save", "PreDelete")]))
    read = world.cluster.labels

    async def refuses(_: str) -> dict[str, str] | None:
        world.cluster.labels = read  # type: ignore[method-assign]
        what = 'cannot get resource "namespaces" in API group "" in the namespace "apps"'
        answer = f'namespaces "apps" is forbidden: User "o" {what}'
        raise KubeError("403", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer)

    world.cluster.labels = refuses  # type: ignore[method-assign]
    if lacks:
        world.cluster.permissions.denied.add(Permission("get", "namespaces", "", "apps"))
    world.put(deleting=True)
    await world.reconcile()
    assert world.helm.commands == (["upgrade", "uninstall"] if lacks else ["upgrade"])


async def test_an_invalid_profile_still_saves_data() -> None:
    """What is invalid in it is for deployments only."""
    world = await deployed()
    world.profiles.put(await profile("p", match=ALL, actions=[*BROKEN, absent("save", "PreDelete")]))
    world.put(deleting=True)
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert "Action save (exists) of profile/p failed" in world.condition("Ready")["message"]


async def test_a_deletion_runs_the_actions_of_profiles() -> None:
    world = await deployed(absent("save", "PreDelete"))
    world.put(deleting=True)
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert "Action save (exists) of profile/p failed" in world.condition("Ready")["message"]
    assert world.status["attempt"]["failedProfile"]["name"] == "p"  # a change of it is the reason for the next attempt
    world.profiles.put(await read_profile(body("p", generation=2, match=ALL)))
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]


@pytest.mark.parametrize("removal", [{"deleting": True}, {"spec": {"action": "Destroy"}}], ids=["deletion", "Destroy"])
async def test_what_precedes_an_uninstall_is_not_repeated_after_it(removal: dict[str, Any]) -> None:
    """The object that it is about is deleted with the release, so the deletion would never end."""
    there = {"name": "stop", "phase": "PreDelete", "exists": {"kind": "ConfigMap", "name": "web"}}
    world = await deployed(there, absent("after", "PostDelete"))
    world.cluster.objects["web"] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}
    world.put(**removal)
    for _ in range(3):
        await world.reconcile()
        world.cluster.objects.pop("web", None)
        assert "Action after (exists) of profile/p failed" in world.condition("Ready")["message"]
        world.retry_now()
        world.put(deleting=removal.get("deleting", False))
    assert world.helm.commands == ["upgrade", "uninstall"]

    world.cluster.objects["nothing"] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nothing"}}
    await world.reconcile()
    assert world.resource is None or not world.resource.finalizers or world.status["phase"] == "Destroyed"


async def test_a_repeated_uninstall_that_is_killed_at_once_does_not_repeat_what_precedes_it() -> None:
    """The next attempt knows it from the first one, although the killed one has not reached Exec."""
    there = {"name": "stop", "phase": "PreDelete", "exists": {"kind": "ConfigMap", "name": "web"}}
    world = await deployed(there, absent("after", "PostDelete"))
    world.cluster.objects["web"] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}
    world.put(deleting=True)
    await world.reconcile()
    assert "Action after (exists) of profile/p failed" in world.condition("Ready")["message"]
    world.cluster.objects.pop("web")

    async def killed(*_: Any) -> Any:
        raise asyncio.CancelledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.profiles, "of", killed)
        world.retry_now()
        world.put(deleting=True)
        with pytest.raises(asyncio.CancelledError):
            await world.reconcile()
    assert "phase" not in world.status["attempt"]
    world.put(deleting=True)
    await world.reconcile()

    assert "Action after (exists) of profile/p failed" in world.condition("Ready")["message"]
    assert world.helm.commands == ["upgrade", "uninstall"]


@pytest.mark.parametrize("removal", [{"deleting": True}, {"spec": {"action": "Destroy"}}], ids=["deletion", "Destroy"])
async def test_that_an_uninstall_begins_is_stored_before_it_does(
    removal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the operator is killed, the next one knows whether something may be deleted."""
    world = await deployed()
    run, stored = world.helm.run, []

    async def noted(arguments: list[str], **options: Any) -> Any:
        stored.append(dict(world.status["attempt"]))
        return await run(arguments, **options)

    monkeypatch.setattr(world.helm, "run", noted)
    world.put(**removal)
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "uninstall"]
    assert (stored[0]["phase"], stored[0]["uninstallBegan"]) == ("Exec", True)


async def test_a_deleted_profile_leaves_what_it_has_deployed_alone() -> None:
    """As a StorageClass that is deleted: the next change fails, and says why, and what runs goes on."""
    world = World(profiles=Profiles([await profile("mine", actions=[])]))
    world.put({"lifecycle": {"name": "mine"}})
    await world.reconcile()
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"

    world.profiles.remove("mine")
    await world.reconcile()
    said = (
        'The release is left as it is, but no run can begin: spec.lifecycle.name: unknown lifecycle "mine"; this operator has:'
        " default, prometheus-operator, aws-vpc-cni"
    )
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("LifecycleMissing")["message"] == said
    assert world.event_messages("LifecycleUnknown") == [said]
    version = world.api.version
    await world.reconcile()
    assert world.api.version == version  # it is said once

    world.put({"lifecycle": {"name": "mine"}, "values": {"a": 1}})
    await world.reconcile()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "LifecycleUnknown")
    assert world.helm.commands == ["upgrade"]

    world.profiles.put(await profile("mine", actions=[]))
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("LifecycleMissing") == {}
    assert world.helm.commands == ["upgrade", "upgrade"]


async def test_a_profile_that_returns_is_missing_no_longer() -> None:
    world = World(profiles=Profiles([await profile("mine", actions=[])]))
    world.put({"lifecycle": {"name": "mine"}})
    await world.reconcile()
    world.profiles.remove("mine")
    await world.reconcile()
    assert world.condition("LifecycleMissing")["status"] == "True"
    world.profiles.put(await profile("other", actions=[]))
    await world.reconcile()
    assert world.condition("LifecycleMissing")["message"].endswith("; LifecycleProfiles: other")
    assert len(world.event_messages("LifecycleUnknown")) == 1

    world.profiles.put(await profile("mine", actions=[]))
    await world.reconcile()
    assert world.condition("LifecycleMissing") == {}
    assert world.helm.commands == ["upgrade"]


async def test_a_first_run_begins_when_its_profile_appears() -> None:
    world = World()
    world.put({"lifecycle": {"name": "mine"}})
    await world.reconcile()
    assert world.condition("Ready")["reason"] == "LifecycleUnknown"
    assert world.helm.commands == []

    world.profiles.put(await profile("mine", actions=[]))
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"


async def failed(phase: str, *, after: str = "", **spec: Any) -> World:
    """A world in which an action of the profile p fails; `after` is what follows."""
    world = World(profiles=Profiles([await profile("p", match=ALL, actions=[absent(phase=phase)])]))
    world.put({"retry": {"limit": 3, "backoff": "1h"}, **spec})
    await world.reconcile()
    assert "of profile/p failed" in world.condition("Ready")["message"]
    conditions = [world.condition(kind) for kind in ("Reconciling", "Stalled")]
    assert any(after in each.get("message", "") for each in conditions), conditions
    ran = list(world.helm.commands)
    await world.reconcile()
    assert world.helm.commands == ran
    assert world.status["attempt"]["failures"] == 1
    return world


async def test_a_changed_profile_retries_what_its_action_made_fail() -> None:
    """It is not made to wait for spec.retry.backoff, as the dependents of a changed object are not elsewhere."""
    world = await failed("PreExec", after=", or when LifecycleProfile p changes")

    changed = await read_profile(body("p", generation=2, match=ALL, actions=[absent("other")]))
    world.profiles.put(changed)
    await world.reconcile()
    assert world.condition("Ready")["message"].startswith("Action other (exists) of profile/p failed")
    assert world.status["attempt"]["failures"] == 1  # another profile is another input
    assert world.status["attempt"]["failedProfile"] == {"name": "p", "uid": "uid-p", "generation": 2}
    version = world.api.version
    await world.reconcile()
    assert world.api.version == version  # once for each change

    world.profiles.put(await read_profile(body("p", generation=3, match=ALL, actions=[])))
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    assert "failedProfile" not in world.status["attempt"]
    assert "LifecycleProfile p has changed" in world.event_messages("InstallStarted")[-1]


@pytest.mark.parametrize("match", [None, {"chartNames": ["other"]}], ids=["deleted", "for-others"])
async def test_a_profile_that_is_for_others_now_retries_too(match: dict[str, Any] | None) -> None:
    world = await failed("PreExec")
    if match is None:
        world.profiles.remove("p")
    else:
        world.profiles.put(await read_profile(body("p", generation=2, match=match)))
    await world.reconcile()

    assert world.condition("Ready")["status"] == "True"


async def test_a_changed_profile_retries_what_was_rolled_back() -> None:
    """Which is not retried otherwise, since each attempt disrupts what runs."""
    world = await deployed(absent(phase="PostExec"))
    world.put({"values": {"a": 1}})
    await world.reconcile()
    ran = list(world.helm.commands)
    await world.reconcile()
    assert world.helm.commands == ran

    world.profiles.put(await read_profile(body("p", generation=2, match=ALL, actions=[])))
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    assert world.helm.commands == [*ran, "upgrade"]


async def test_a_check_that_was_corrected_needs_no_helm() -> None:
    world = await failed("Validate", atomic=False)
    ran = list(world.helm.commands)

    world.profiles.put(await read_profile(body("p", generation=2, match=ALL, actions=[])))
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    assert world.helm.commands == ran


async def test_another_profile_retries_nothing() -> None:
    """Nor a failure that no profile has caused: each attempt may disrupt what runs."""
    world = await failed("PreExec")
    version = world.api.version
    world.profiles.put(await profile("q", match={"chartNames": ["other"]}))
    await world.reconcile()
    assert world.api.version == version

    other = World(profiles=Profiles([await profile("p", match=ALL)]))
    other.helm.refusals["upgrade"] = ["Error: no"]
    other.put()
    await other.reconcile()
    assert "failedProfile" not in other.status["attempt"]


async def test_a_blocked_run_names_the_profile_whose_change_it_waits_for() -> None:
    world = World(profiles=Profiles([await profile("p", match=ALL, actions=BROKEN)]))
    world.put()
    await world.reconcile()

    assert world.condition("Stalled")["message"] == (
        "Not retried automatically; change the spec or LifecycleProfile p, or set the annotation managedchart.dev/retry to a"
        " new value"
    )


class Asked(Scheduler):
    """Remembers for which resources a pass was asked."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def request(self, key: Key, *, interrupt: bool = False) -> None:
        """Not an interrupting one: what runs goes on."""
        assert not interrupt
        self.keys.append(key.name)


async def test_a_changed_profile_has_those_looked_at_that_it_concerns() -> None:
    world, asked = World(), Asked()
    for name, repository_chart in (("now", "web"), ("before", "api"), ("other", "db")):
        source = {"repository": "https://charts.example.com", "name": repository_chart}
        world.store.put(chart(name, spec={"chart": source}))
    world.store.put(chart("named", spec={"chart": {"path": "/x"}, "lifecycle": {"name": "p"}}))
    named = {"chart": {"path": "/x"}, "lifecycle": {"name": "p"}}
    world.store.put(chart("deleting", spec=named, deleting=True))
    blocked = {"attempt": {"failedProfile": {"name": "p", "uid": "u", "generation": 1}}}
    world.store.put(chart("blocked", spec=named, deleting=True, status=blocked))
    before = await profile("p", match={"chartNames": ["api"]})
    after = await profile("p", match={"chartNames": ["web"]})

    changes = ProfileChanges(world.store, asked, lifecycles(namespaces=FakeNamespaces()))
    await changes.changed(before, after)

    assert sorted(asked.keys) == ["before", "blocked", "named", "now"]
    assert shown_lifecycle.__doc__


async def validated(world: World) -> None:
    """Make a pass that a change of a profile has asked for."""
    world.put()
    await world.reconcile()


async def test_a_validation_on_time_knows_the_installed_version() -> None:
    """It does not observe the release before, and a check for other versions would be skipped for good."""
    clock = Clock()
    world = World()
    world.validations = Validations(cast("Any", world.events), world.telemetry, clock=clock, chance=lambda *_: 1.0)
    strict = {"every": "10s", "failureThreshold": 1}
    versions = {"chartNames": ["web"], "versions": "1.0"}
    world.profiles.put(
        await profile("p", match=versions, actions=[absent(phase="Validate")], validation={"every": "10s"})
    )
    source = {"repository": "https://charts.example.com", "name": "web"}
    world.charts.remote = True
    world.cluster.objects["nothing"] = {"metadata": {"name": "nothing"}}
    world.put({"chart": source})
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"

    world.profiles.put(await profile("p", match=versions, actions=[absent(phase="Validate")], validation=strict))
    await validated(world)
    del world.cluster.objects["nothing"]
    clock.now += 3600.0
    await world.reconciler().reconcile(Key("apps", "web"), timed=True)
    assert "of profile/p failed: ConfigMap apps/nothing" in world.condition("Ready")["message"]


async def test_the_first_check_is_carried_out_at_once_after_a_run() -> None:
    """Also if there was no other pass between the run and the profile."""
    world = World()
    world.validations = Validations(cast("Any", world.events), world.telemetry)
    world.put()
    await world.reconcile()
    strict = {"every": "1h", "failureThreshold": 1}
    world.profiles.put(await profile("p", match=ALL, actions=[absent(phase="Validate")], validation=strict))
    await world.reconcile()

    assert world.condition("Ready")["reason"] == "ValidationFailed"


async def test_the_check_of_a_new_profile_is_carried_out_at_once() -> None:
    """Although the ManagedChart turns its own checks off; and an invalid change of the profile heals nothing."""
    world = World()
    world.validations = Validations(cast("Any", world.events), world.telemetry)
    world.put({"lifecycle": {"validation": {"every": "0s"}}})
    await world.reconcile()
    await validated(world)
    strict = {"every": "10s", "failureThreshold": 1}
    world.profiles.put(await profile("p", match=ALL, actions=[absent(phase="Validate")], validation=strict))
    await validated(world)

    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ValidationFailed")
    assert "of profile/p failed" in ready["message"]
    world.profiles.put(await profile("p", match=ALL, actions=BROKEN))
    await validated(world)
    assert world.condition("Ready")["status"] == "False"
    world.profiles.remove("p")
    await validated(world)
    assert world.condition("Ready")["status"] == "True"
    assert world.helm.commands == ["upgrade"]
