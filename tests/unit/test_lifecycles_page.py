"""docs/lifecycles.md: its code works, its tables are complete."""

import inspect
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import PhaseContext, Release
from managedchart_operator.lifecycle.registry import BUILT_IN, ENTRY_POINT_GROUP
from unit.lifecycle.fakes import FakeCluster, bench

PAGE = (Path(__file__).parents[2] / "docs" / "lifecycles.md").read_text()


def test_every_built_in_lifecycle_is_listed() -> None:
    assert BUILT_IN.keys() <= set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))


def test_the_signatures_of_the_phases_are_listed() -> None:
    """All methods that a plug-in overrides; `run` and what the default phases call are not among them."""
    listed = set(re.findall(r"^\| `(\w+\(self, context, payload.*?\))` \|", PAGE, re.MULTILINE))

    methods = inspect.getmembers(Lifecycle, inspect.iscoroutinefunction)
    signatures = {f"{name}({', '.join(inspect.signature(method).parameters)})" for name, method in methods}
    assert listed == {each for each in signatures if "payload" in each and not each.startswith("_")}


def test_all_that_a_phase_gets_is_listed() -> None:
    table = PAGE.partition("### What a phase gets")[2].partition("###")[0]

    for name in PhaseContext.__dataclass_fields__:
        assert f"`{name}`" in table
    for name, _ in inspect.getmembers(Release, inspect.isfunction):
        if not name.startswith("_"):
            assert f"`{name}`" in table


class ClusterOfDeployments(FakeCluster):
    """Takes the patch of any object that is there."""

    async def merge_patch(self, ref: ObjectRef, patch: dict[str, Any]) -> dict[str, Any] | None:
        if ref not in self.objects:
            return None
        self.patched.append(ref)
        self.objects[ref] = {**self.objects[ref], **patch}
        return self.objects[ref]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


LIFECYCLE, TEST = _blocks("python")


def _module() -> ModuleType:
    module = ModuleType("my_lifecycles.coredns")
    exec(LIFECYCLE, module.__dict__)
    return module


def _coredns() -> Lifecycle:
    lifecycle: Lifecycle = _module().CoreDns()
    return lifecycle


CONFIG = ObjectRef("v1", "ConfigMap", "coredns", "apps")
DEPLOYMENT = ObjectRef("apps/v1", "Deployment", "coredns", "apps")


async def test_the_lifecycle_in_the_page_works() -> None:
    cluster = ClusterOfDeployments({CONFIG: {"data": {"Corefile": ".:53 {}"}}, DEPLOYMENT: {}})
    made = bench(cluster=cluster)

    await _coredns().run(made.context)
    first = cluster.objects[DEPLOYMENT]
    await _coredns().run(made.context)

    assert cluster.patched == [DEPLOYMENT, DEPLOYMENT]
    assert first["spec"]["template"]["metadata"]["annotations"].keys() == {"example.com/corefile"}
    assert cluster.objects[DEPLOYMENT] == first


async def test_the_lifecycle_in_the_page_leaves_removals_alone() -> None:
    with pytest.raises(LifecycleError, match="Deployment apps/coredns does not exist"):
        await _coredns().run(bench(cluster=ClusterOfDeployments()).context)

    await _coredns().run(bench(cluster=ClusterOfDeployments(), action=Action.DESTROY).context)


def test_the_package_in_the_page_is_complete() -> None:
    [toml] = _blocks("toml")
    package = tomllib.loads(toml)
    folder, module = re.findall(r"^(?:│   )?[├└]── (\w+)(?:/|\.py)$", PAGE, re.MULTILINE)[:2]

    assert package["build-system"]["build-backend"].partition(".")[0] in package["build-system"]["requires"]
    # hatchling packs the folder that has the project's name.
    assert package["project"]["name"].replace("-", "_") == folder
    assert package["project"]["entry-points"] == {ENTRY_POINT_GROUP: {module: f"{folder}.{module}:CoreDns"}}


def test_the_image_in_the_page_installs_into_the_operators_python() -> None:
    """By the pip of the base image: the operator's environment is made without one."""
    image = (Path(__file__).parents[2] / "Dockerfile").read_text()
    [plugins] = _blocks("dockerfile")
    [environment] = re.findall(r"venv --without-pip (/opt/managedchart)\b", image)

    assert f"RUN pip --python {environment}/bin/python install" in plugins
    assert re.findall(r"^USER .*", image, re.MULTILINE)[-1] == plugins.strip().splitlines()[-1]


def test_the_test_in_the_page_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "my_lifecycles", ModuleType("my_lifecycles"))
    monkeypatch.setitem(sys.modules, "my_lifecycles.coredns", _module())
    scope: dict[str, Any] = {}
    exec(TEST, scope)

    tests = [found for name, found in scope.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_test_in_the_page_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a lifecycle that restarts CoreDNS on a removal too."""
    module = ModuleType("my_lifecycles.coredns")
    exec(LIFECYCLE.replace("context.action is not Action.DEPLOY or", ""), module.__dict__)
    monkeypatch.setitem(sys.modules, "my_lifecycles", ModuleType("my_lifecycles"))
    monkeypatch.setitem(sys.modules, "my_lifecycles.coredns", module)
    scope: dict[str, Any] = {}
    exec(TEST, scope)

    with pytest.raises(AssertionError):
        scope["test_a_removal_restarts_nothing"]()
