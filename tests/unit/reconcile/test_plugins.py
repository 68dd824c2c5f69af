"""Failures of plug-ins: what is retried when the plug-in, or the LifecycleProfile that names it, changes."""

from dataclasses import replace
from typing import Any, cast

import pytest

from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.plugin_lifecycle import Plugin, PluginLifecycle
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.lifecycle.profiles.profile import read_profile
from unit.lifecycle.profiles.samples import body
from unit.reconcile.world import World

ALL = {"chartNames": ["*"]}
PLUGIN = Plugin("p", "plug-in p.py", {}, "P", frozenset(), "1")
RETRY = {"limit": 3, "backoff": "1h"}


class Failing(PluginLifecycle):
    """Its phase PreExec fails in the code of version 1."""

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        if self.plugin.digest != "1":
            return payload
        error = LifecycleError("The licence server says no", transient=False)
        error.plugin = self.plugin.version
        raise error


class FakePlugins(Plugins):
    """Those of an operator that has one."""

    def find(self, name: str) -> Lifecycle:
        if name != "p":
            return super().find(name)
        return Failing(self.found["p"], cast("Any", None))


@pytest.fixture
def world() -> World:
    return World(plugins=FakePlugins(PluginProcesses(), found={"p": PLUGIN}))


def change_plugin(world: World) -> None:
    """Start an operator with another version of it."""
    assert world.plugins is not None
    world.plugins.found["p"] = replace(PLUGIN, digest="2")


async def failed(world: World, **spec: Any) -> None:
    """Let the plug-in fail, and see that nothing is tried again while nothing changes."""
    world.put({"retry": RETRY, **spec})
    await world.reconcile()
    assert world.condition("Ready")["message"] == "The licence server says no"
    assert world.status["attempt"]["failedPlugin"] == {"name": "p", "digest": "1"}
    version = world.api.version
    await world.reconcile()
    assert world.api.version == version


async def test_a_changed_plugin_retries_what_it_made_fail(world: World) -> None:
    await failed(world, lifecycle={"name": "p"})
    assert "failedProfile" not in world.status["attempt"]
    assert world.condition("Stalled")["message"].startswith(
        "Not retried automatically; change the spec or plug-in p, or "
    )

    change_plugin(world)
    await world.reconcile()

    assert world.condition("Ready")["status"] == "True"
    assert "failedPlugin" not in world.status["attempt"]
    assert world.event_messages("InstallStarted")[-1].endswith("plug-in p has changed")


async def test_a_plugin_that_no_longer_loads_is_reported(world: World) -> None:
    await failed(world, lifecycle={"name": "p"})
    broken = 'the lifecycle "p" (plug-in p.py) cannot be loaded: SyntaxError: invalid syntax'
    world.plugins = Plugins(PluginProcesses(), broken={"p": broken})

    await world.reconcile()

    ready = world.condition("Ready")
    assert (ready["reason"], ready["message"]) == ("LifecycleUnknown", f"spec.lifecycle.name: {broken}")
    change_plugin(world := replace_plugins(world))
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"


def replace_plugins(world: World) -> World:
    """Start an operator in which it can be loaded again."""
    world.plugins = FakePlugins(PluginProcesses(), found={"p": PLUGIN})
    return world


async def profile_naming_it(world: World, *, generation: int = 1, lifecycle: str | None = "p") -> None:
    """Put the profile of all charts there."""
    raw = body("all", generation=generation, match=ALL, **({"lifecycle": lifecycle} if lifecycle else {}))
    world.profiles.put(await read_profile(raw, world.plugins))


async def test_a_changed_profile_retries_what_its_plugin_made_fail(world: World) -> None:
    await profile_naming_it(world)
    await failed(world)
    assert world.status["attempt"]["failedProfile"]["name"] == "all"
    assert "change the spec, LifecycleProfile all or plug-in p, or " in world.condition("Stalled")["message"]

    await profile_naming_it(world, generation=2, lifecycle=None)
    await world.reconcile()

    assert world.condition("Ready")["status"] == "True"


async def test_a_changed_plugin_of_a_profile_retries_too(world: World) -> None:
    await profile_naming_it(world)
    await failed(world)

    change_plugin(world)
    await world.reconcile()

    assert world.condition("Ready")["status"] == "True"


async def test_a_profile_whose_plugin_is_broken_names_its_error_and_the_remedy(world: World) -> None:
    broken = 'the lifecycle "p" (plug-in p.py) cannot be loaded: SyntaxError: invalid syntax'
    world.plugins = Plugins(PluginProcesses(), broken={"p": broken})
    await profile_naming_it(world)
    world.put({"retry": RETRY})
    await world.reconcile()

    failure = world.status["lastFailure"]
    assert failure["message"] == f"LifecycleProfile all spec.lifecycle: {broken}"
    assert failure["hint"] == (
        "Ask an administrator to correct the plug-in and restart the operator, or to correct the profile: kubectl get"
        " lifecycleprofile all -o yaml"
    )
    change_plugin(replace_plugins(world))
    await profile_naming_it(world)
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"


async def test_a_failure_of_helm_is_none_of_the_plugin(world: World) -> None:
    """Another version of the plug-in would only disrupt again what runs."""
    await profile_naming_it(world)
    change_plugin(world)
    world.helm.refusals["upgrade"] = ["Error: no"]
    world.put({"retry": RETRY})
    await world.reconcile()

    assert world.condition("Ready")["status"] == "False"
    assert "failedPlugin" not in world.status["attempt"]
    assert "failedProfile" not in world.status["attempt"]
