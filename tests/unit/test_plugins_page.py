"""docs/plugins.md: its code works as shown, in a plug-in process too, and its tables are complete."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from managedchart_operator import plugin
from managedchart_operator.api.spec import Action
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import PhaseContext, Release, ReleaseExtras, RunFacts
from managedchart_operator.lifecycle.deadline import LEAST_SECONDS
from managedchart_operator.lifecycle.plugins import answers, catalog, loading, places, processes, stand_ins
from managedchart_operator.lifecycle.plugins.plugin_lifecycle import _PARTS_OF_EXEC
from managedchart_operator.lifecycle.registry import ENTRY_POINT_GROUP
from managedchart_operator.testing import FakeCluster, FakeExtras, FakeFacts, FakeRecorder, FakeRelease, fake_context
from unit.lifecycle.plugins.plugin_folder import discovered

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


LIFECYCLE, TEST = _blocks("python")
VALUES, KUSTOMIZATION, SPEC = (yaml.safe_load(each) for each in _blocks("yaml"))
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "coredns", "namespace": "kube-system"},
}
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "coredns", "namespace": "kube-system"},
    "data": {"Corefile": ".:53 {}"},
}


# ---- the tutorial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the tutorial, with its two files."""
    (tmp_path / "coredns.py").write_text(LIFECYCLE)
    (tmp_path / "test_coredns.py").write_text(TEST)
    return tmp_path


def _pytest(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:kind", "--rootdir=.", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_test_in_the_page_passes(folder: Path) -> None:
    done = _pytest(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_test_in_the_page_can_fail(folder: Path) -> None:
    """With a lifecycle that restarts CoreDNS on a removal too, and with one that never does."""
    broken = LIFECYCLE.replace("context.action is not Action.DEPLOY or", "")
    (folder / "coredns.py").write_text(broken.replace("hexdigest()[:16]", "hexdigest()[:0]"))
    assert "2 failed, 1 passed" in _pytest(folder).stdout


def test_the_plugin_has_twenty_lines() -> None:
    assert len(LIFECYCLE.splitlines()) == 20


async def test_the_plugin_runs_mounted(folder: Path) -> None:
    """The file with its test beside it: that one defines no lifecycle, so only the module goes into the ConfigMap."""
    (folder / "test_coredns.py").unlink()
    cluster, release = FakeCluster(CONFIG, DEPLOYMENT), FakeRelease(namespace="kube-system")
    async with discovered(folder) as plugins:
        lifecycle = plugins.find(SPEC["spec"]["lifecycle"]["name"])
        payload = await lifecycle.run(fake_context(cluster=cluster, release=release))
    assert release.installed_version == release.version
    assert cluster.changes == [("merge_patch", ObjectRef("apps/v1", "Deployment", "coredns", "kube-system"))]
    assert list(payload) == ["corefile"]


def test_what_the_page_mounts_is_what_it_creates() -> None:
    [name] = re.findall(r"create configmap (\S+) --from-file=coredns.py", PAGE)
    patch = yaml.safe_load(KUSTOMIZATION["patches"][0]["patch"])
    pod = patch["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert {"plugins": {"configMap": name}} == VALUES
    assert pod["volumes"] == [{"name": "plugins", "configMap": {"name": name}}]
    assert container["volumeMounts"][0]["mountPath"] == container["env"][0]["value"]
    assert container["env"][0]["name"] == "MANAGEDCHART_PLUGIN_DIR"


# ---- the reference


def test_the_signatures_of_the_phases_are_listed() -> None:
    """All methods that a plug-in overrides; `run` and what the default phases call are not among them."""
    listed = set(re.findall(r"^\| `(\w+\(self, context, payload.*?\))` \|", PAGE, re.MULTILINE))

    methods = inspect.getmembers(Lifecycle, inspect.iscoroutinefunction)
    signatures = {f"{name}({', '.join(inspect.signature(method).parameters)})" for name, method in methods}
    assert listed == {each for each in signatures if "payload" in each and not each.startswith("_")}


def test_every_phase_of_a_plugin_runs_in_its_process() -> None:
    """A method that the operator does not know as overridden would silently be the default one."""
    methods = {name for name, _ in inspect.getmembers(Lifecycle, inspect.iscoroutinefunction)}
    assert set(loading.OVERRIDDEN) == {each for each in methods if not each.startswith("_")} - {"run"}
    assert set(loading.OVERRIDDEN) >= _PARTS_OF_EXEC


def _public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


GETS = PAGE.partition("## What a phase gets")[2].partition("\n## ")[0]


def test_all_that_a_phase_gets_is_listed() -> None:
    for name in PhaseContext.__dataclass_fields__:
        assert f"`{name}`" in GETS
    for name in _public(Release) | _public(ReleaseExtras) | _public(RunFacts) | _public(stand_ins.RemoteCluster):
        assert f"`{name}`" in GETS


def test_all_that_is_listed_is_there_in_a_plugin_and_in_its_test() -> None:
    """The stand-ins in the process, the calls that the operator answers, and the fakes have the same methods."""
    assert _public(stand_ins.RemoteRelease) == _public(FakeRelease) == _public(Release)
    assert _public(stand_ins.RemoteCluster) == _public(FakeCluster)
    assert _public(stand_ins.RemoteRecorder) <= _public(FakeRecorder)
    assert _public(stand_ins.RemoteFacts) == _public(FakeFacts) == _public(RunFacts)
    assert _public(stand_ins.RemoteExtras) == _public(FakeExtras) == _public(ReleaseExtras)
    called = {name.partition(".")[2] for name in answers.CALLS if name.startswith("cluster.")}
    assert called == _public(stand_ins.RemoteCluster)
    special = {"redactor", "collect_evidence"}
    called = {name.partition(".")[2] for name in answers.CALLS if name.startswith("release.")}
    assert called | special == _public(Release)
    for kind, fake in ((stand_ins.RemoteRelease, FakeRelease), (stand_ins.RemoteCluster, FakeCluster)):
        for name in _public(kind):
            assert str(inspect.signature(getattr(kind, name)).parameters.keys()) == str(
                inspect.signature(getattr(fake, name)).parameters.keys()
            )


def test_the_limits_in_the_page_are_those_of_the_code() -> None:
    limits: dict[str, Any] = {
        f"at least {LEAST_SECONDS:g} s": "deadline",
        f"so up to {places.PROCESSES} can wait": "processes",
        f"{processes.DEFAULT_MEMORY_BYTES // processes.MIB} MiB of memory": "memory",
        f"within {catalog.IMPORT_SECONDS:g} s": "imports",
        f"at most {answers.MAX_LINES} lines": "lines",
    }
    text = " ".join(PAGE.split()).replace("At most", "at most")
    assert [limit for limit in limits if limit not in text] == []
    for name in (
        *processes._PASSED_ON_PREFIXES,
        *(each for each in processes._PASSED_ON if not each.startswith("LC_")),
    ):
        assert f"`{name}" in PAGE


def test_the_api_is_complete() -> None:
    assert sorted(plugin.__all__) == plugin.__all__
    for name in plugin.__all__:
        assert getattr(plugin, name)
    assert plugin.Action is Action


# ---- packages


def test_the_package_in_the_page_is_complete() -> None:
    [toml] = _blocks("toml")
    package = tomllib.loads(toml)
    [folder, module] = re.findall(r"[├└]── (\w+)(?:/|\.py)", PAGE.replace("__init__.py", ""))

    assert package["build-system"]["build-backend"].partition(".")[0] in package["build-system"]["requires"]
    # hatchling packs the folder that has the project's name.
    assert package["project"]["name"].replace("-", "_") == folder
    assert package["project"]["entry-points"] == {ENTRY_POINT_GROUP: {module: f"{folder}.{module}:CoreDns"}}


def test_the_image_in_the_page_installs_into_the_operators_python() -> None:
    """By the pip of the base image: the operator's environment is made without one."""
    image = (ROOT / "Dockerfile").read_text()
    [plugins] = _blocks("dockerfile")
    [environment] = re.findall(r"venv --without-pip (/opt/managedchart)\b", image)

    assert f"RUN pip --python {environment}/bin/python install" in plugins
    assert re.findall(r"^USER .*", image, re.MULTILINE)[-1] == plugins.strip().splitlines()[-1]
