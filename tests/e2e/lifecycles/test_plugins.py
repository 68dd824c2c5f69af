"""Plug-ins, mounted and packaged, good and broken, on one operator: what one does ends its own phase and nothing else.

And what those of examples/plugins do.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS, REPOSITORY
from e2e.fields.steps import WEB, config, deploy, refused
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess
from managedchart_operator.lifecycle.registry import ENTRY_POINT_GROUP

HEAD = "import os\nfrom managedchart_operator.plugin import *\n"
GOOD = """
class Stamp(Lifecycle):
    async def post_exec(self, context, payload):
        namespace = context.release.namespace
        stamp = {"metadata": {"annotations": {"example.com/stamp": context.facts.stamp}}}
        for item in await context.release.manifest():
            ref = await context.cluster.locate(item, namespace)
            if ref.kind == "Deployment":
                await context.cluster.merge_patch(ref, stamp)
                return {**payload, "stamped": str(ref)}
        raise LifecycleError("the chart has no Deployment", transient=False)
"""
PRE_EXEC = """
class Plugin(Lifecycle):
    async def pre_exec(self, context, payload):
        {}
"""
MOUNTED = {
    "stamp": GOOD,
    "broken": "import no_such_library\n",
    "hanging": PRE_EXEC.format("while True: pass"),
    "crashing": PRE_EXEC.format('print("about to crash"); os._exit(7)'),
    "greedy": PRE_EXEC.format("return {'x': len(bytearray(2 << 30))}"),
}
EXAMPLES = sorted((REPOSITORY / "examples" / "plugins").glob("*.py"))
ONCE = {"retry": {"limit": 0}, "timeout": "10s"}


@pytest.fixture(scope="module")
def plugins_operator(
    operator: OperatorProcess, operator_kubeconfig: Path, helm_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator with plug-ins in a folder as a ConfigMap volume has it, and with a package; the shared one has to wait."""
    tmp_path = tmp_path_factory.mktemp("plugins")
    folder, packages = tmp_path / "plugins", tmp_path / "packages"
    data = folder / "..2026_11_26_12_00_00.1"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to(data.name)
    modules = {name: HEAD + textwrap.dedent(code) for name, code in MOUNTED.items()}
    for name, code in {**modules, **{file.stem: file.read_text() for file in EXAMPLES}}.items():
        (data / f"{name}.py").write_text(code)
        (folder / f"{name}.py").symlink_to(f"..data/{name}.py")
    info = packages / "packaged-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "packaged.py").write_text(HEAD + GOOD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\npackaged = packaged:Stamp\n")
    process = OperatorProcess(
        kubeconfig=operator_kubeconfig,
        folder=tmp_path / "operator",
        helm=helm_binary,
        chart_roots=[CHARTS],
        MANAGEDCHART_PLUGIN_DIR=str(folder),
        PYTHONPATH=str(packages),
    )
    operator.stop()
    try:
        with process:
            yield process
    finally:
        if process.running:  # it was too slow to start
            process.kill()
        operator.start()


def test_broken_hanging_and_crashing_plugins_touch_nobody_else(
    cluster: Cluster, ns: str, plugins_operator: OperatorProcess
) -> None:
    operator = plugins_operator

    def apply(name: str, lifecycle: str, **spec: Any) -> None:
        cluster.apply(managedchart(name, WEB, lifecycle={"name": lifecycle}, **spec), namespace=ns)

    def failure(name: str, reason: str) -> str:
        chart = cluster.wait_failed(ns, name, reason)
        assert cluster.revisions(ns, name) == []
        return str(chart["status"]["lastFailure"]["message"])

    with operator.watching() as delays:
        for name in ("broken", "hanging", "crashing", "greedy"):
            apply(name, name, **ONCE)
        cluster.wait_chart(
            ns, "hanging", lambda found: found.get("status", {}).get("phase") == "PreExec", what="in PreExec"
        )
        for name in ("stamp", "packaged", "default"):
            apply(name, name)
        for name in ("stamp", "packaged", "default"):
            cluster.wait_ready(ns, name)
        in_phase = "Phase PreExec of the lifecycle {0} (plug-in {0}.py)"
        assert (
            failure("hanging", "PhaseTimeout")
            == f"{in_phase.format('hanging')} did not end within 10 s of its own time"
        )
        assert failure("crashing", "LifecycleFailed") == (
            f"{in_phase.format('crashing')} failed: The process of the plug-in ended with exit code 7"
        )
        assert failure("greedy", "LifecycleFailed") == f"{in_phase.format('greedy')} needs more than 256 MiB of memory"
        assert failure("broken", "LifecycleUnknown") == (
            'spec.lifecycle.name: the lifecycle "broken" (plug-in broken.py) cannot be loaded: '
            "ModuleNotFoundError: No module named 'no_such_library'"
        )
        assert operator.metric("managedchart_plugins_broken") == 1
    assert delays.longest <= 0.1
    for name in ("stamp", "packaged"):
        chart = cluster.get(f"/apis/managedchart.dev/v1alpha1/namespaces/{ns}/managedcharts/{name}")
        assert chart is not None
        (post,) = (phase for phase in chart["status"]["phases"] if phase["name"] == "PostExec")
        assert post["payload"] == ["stamped"]
        assert condition_of(chart, "Ready")["status"] == "True"
    assert operator.running
    assert "about to crash" in operator.log
    assert "broken plug-in" in operator.log


def test_a_release_that_is_installed_once_stays_as_it_is(
    cluster: Cluster, ns: str, plugins_operator: OperatorProcess
) -> None:
    """Also after a restart of the operator, which begins no run."""
    once = {"lifecycle": {"name": "install-once"}}
    deploy(cluster, ns, "once", WEB, values={"message": "first"}, **once)
    left = deploy(cluster, ns, "once", WEB, values={"message": "second"}, **once)
    plugins_operator.stop()
    plugins_operator.start()
    deploy(cluster, ns, "other", WEB)
    assert cluster.managedchart(ns, "once")["status"] == left["status"]
    assert cluster.revisions(ns, "once") == [(1, "deployed")]
    assert config(cluster, ns, "once") == {"MESSAGE": "first"}


def test_changes_are_shown_before_they_are_made(cluster: Cluster, ns: str, plugins_operator: OperatorProcess) -> None:
    """In a dry run they are not made."""
    shown = {"lifecycle": {"name": "show-changes"}}
    deploy(cluster, ns, "web", WEB, values={"message": "first"}, **shown)
    known = len(plugins_operator.log)
    found = deploy(cluster, ns, "web", WEB, values={"message": "second"}, **shown)
    (before,) = (phase for phase in found["status"]["phases"] if phase["name"] == "PreExec")
    assert before["payload"] == ["changed"]
    log = plugins_operator.log[known:]
    assert f"ConfigMap {ns}/web changes:" in log
    assert "-  MESSAGE: first\n" in log
    assert "+  MESSAGE: second\n" in log
    assert f"Deployment {ns}/web changes:" in log
    assert log.count(" changes:\n") == 2

    deploy(cluster, ns, "web", WEB, values={"message": "third"}, dryRun=True, **shown)
    assert "+  MESSAGE: third\n" in plugins_operator.log
    assert cluster.revisions(ns, "web") == [(1, "superseded"), (2, "deployed")]


def test_a_failure_can_be_left_without_evidence(cluster: Cluster, ns: str, plugins_operator: OperatorProcess) -> None:
    assert "no-evidence" in plugins_operator.log
    crashing = {"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}
    quiet = {"atomic": False, "lifecycle": {"name": "no-evidence"}, "values": crashing, **ONCE}
    assert not refused(cluster, ns, "quiet", WEB, **quiet).get("containers")
    assert refused(cluster, ns, "told", WEB, **{**quiet, "lifecycle": {"name": "default"}})["containers"]
    assert cluster.revisions(ns, "quiet") == [(1, "failed")]
