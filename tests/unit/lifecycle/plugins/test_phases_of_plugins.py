"""Phases of plug-ins run in processes of their own: with the API of a phase, and with limits that end nothing else."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, KubeError, LifecycleError, OperatorError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle import deadline
from managedchart_operator.lifecycle.context import ChartCrds, HelmTests, Operation
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.reasons import Reason
from managedchart_operator.testing import FakeExtras, FakeFacts, fake_context
from unit.lifecycle.fakes import EVENT, Bench, FakeCluster, FakeRelease, bench
from unit.lifecycle.plugins.plugin_folder import discovered, write

CONFIG = ObjectRef("v1", "ConfigMap", "c", "apps")


def helm_error() -> HelmError:
    return HelmError("the release failed", reason=Reason.HELM_FAILED, transient=True, text="Error: boom")


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[PluginProcesses]:
    """The server from which the processes of these tests come."""
    made = PluginProcesses(places=4)
    yield made
    await made.close()


async def run(folder: Path, made: Bench, processes: PluginProcesses | None = None) -> Any:
    async with discovered(folder, processes) as plugins:
        assert not plugins.broken
        return await plugins.find("p").run(made.context)


async def test_all_that_a_phase_gets_works(processes: PluginProcesses, tmp_path: Path) -> None:
    """Every call of the facade arrives in the operator, and its result in the plug-in."""
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                release, cluster, ref = context.release, context.cluster, ObjectRef("v1", "ConfigMap", "c", "apps")
                found = await cluster.get(ref)
                listed = await cluster.list("v1", "ConfigMap", namespace="apps", labels="a=b")
                await cluster.merge_patch(ref, {"metadata": {"labels": {"x": "y"}}})
                redact = await asyncio.to_thread(release.redactor, await release.manifest())
                context.recorder.warn("Told", "it is so")
                context.logger.warning("%d things", 3)
                return {
                    "names": [release.name, release.namespace, str(context.chart.key), context.chart.uid],
                    "spec": [context.spec.release_name, context.action.value, context.operation.value],
                    "found": found["data"], "listed": len(listed), "missing": await cluster.get(ObjectRef("v1", "Pod", "n")),
                    "version": await release.chart_version(), "installed": (await release.installed()).chart_version,
                    "here": await release.deployed_here(), "crds": sorted((await release.chart_crds()).names),
                    "redacted": redact("it is hunter22"), "stamp": context.facts.stamp,
                    "replaced": await context.facts.replaced_version(),
                    "located": str(await cluster.locate({"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": "z"}}, "apps")),
                    "resolved": str(await cluster.resolve(ObjectRef("v1", "ClusterRole", "z", "apps"))),
                    "namespaced": await cluster.namespaced("v1", "ClusterRole"),
                    "gone": await cluster.delete(ref),
                }
        """,
    )
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter22"}}
    release = FakeRelease(installed_version="1.0.0", crds=ChartCrds(frozenset({"b", "a"})), objects=[secret])
    cluster = FakeCluster({CONFIG: {"metadata": {"labels": {"a": "b"}}, "data": {"k": "v"}}})
    made = bench(release=release, cluster=cluster, release_name="web")

    payload = await run(folder, made, processes)

    assert payload == {
        "names": ["web", "apps", "apps/web", "u1"],
        "spec": ["web", "Deploy", "Upgrade"],
        "found": {"k": "v"}, "listed": 1, "missing": None,
        "version": "2.0.0", "installed": "1.0.0", "here": True, "crds": ["a", "b"],
        "redacted": "it is ***", "stamp": "a1", "replaced": "1.0.0",
        "located": "ConfigMap apps/z", "resolved": "ClusterRole z", "namespaced": False, "gone": True,
    }  # fmt: skip
    assert (cluster.patched, cluster.deleted) == ([CONFIG], [CONFIG])
    assert made.recorder.warnings == [("Told", "it is so")]


async def test_facts_and_extras_work(processes: PluginProcesses, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                extras = context.extras
                await extras.kinds_changed()
                tests = await extras.test(only=["smoke"], exclude=[], seconds=5)
                answer = await extras.query_metrics("https://thanos.example.com", "up")
                return {
                    "metrics": [type(answer).__name__, answer.status, "42" in answer.body],
                    "files": await context.facts.chart_objects("files/*.yaml", most_bytes=10, most_objects=2),
                    "crds": await extras.crds(), "installed": sorted((await extras.installed_crds()).names),
                    "failed": tests.failed, "log": tests.logs["pod", "main"], "error": [type(tests.error).__name__,
                    tests.error.text],
                }
        """,
    )
    error = HelmError("failed", reason=Reason.HELM_FAILED, transient=True, text="pod failed")
    extras = FakeExtras(
        chart_crds=[{"kind": "CustomResourceDefinition"}],
        installed=ChartCrds(frozenset({"a"})),
        tests=HelmTests(("ok",), ("smoke",), {("pod", "main"): "no answer"}, error),
        metrics={"up": 42},
    )
    context = fake_context(extras=extras, facts=FakeFacts(files=[{"kind": "ConfigMap"}]))
    async with discovered(folder, processes) as plugins:
        payload = await plugins.find("p").run(context)
    assert payload == {
        "files": [{"kind": "ConfigMap"}], "crds": [{"kind": "CustomResourceDefinition"}], "installed": ["a"],
        "failed": ["smoke"], "log": "no answer", "error": ["HelmError", "pod failed"],
        "metrics": ["MetricAnswer", 200, True],
    }  # fmt: skip
    assert extras.calls == ["kinds_changed", "test", "query_metrics", "crds", "installed_crds"]


async def test_super_runs_what_the_default_does(processes: PluginProcesses, tmp_path: Path) -> None:
    """deploy, uninstall_before_breaking_version, check_prerequisites and on_deploy_failure."""
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def check_prerequisites(self, context, payload):
                return {**await super().check_prerequisites(context, payload), "checked": True}
            async def uninstall_before_breaking_version(self, context):
                try:
                    await super().uninstall_before_breaking_version(context)
                except OperatorError as error:
                    context.recorder.warn(error.reason, error.message)
            async def deploy(self, context, payload):
                return {**await super().deploy(context, payload), "deployed": True}
            async def on_deploy_failure(self, context, payload, error):
                assert isinstance(error, HelmError) and error.text == "Error: boom", error
                return await super().on_deploy_failure(context, payload, error)
        """,
    )
    release = FakeRelease(installed_version="1.0.0", raises={"uninstall": KubeError("no", reason=Reason.FORBIDDEN,
        transient=True, status=403)})  # fmt: skip
    made = bench(release=release, last_breaking_version_requiring_restart="2.0.0")
    assert await run(folder, made, processes) == {"checked": True, "deployed": True}
    assert release.calls == ["check_inputs", "check_namespace", "installed", "chart_version", "uninstall", "upgrade"]
    assert made.recorder.warnings == [("Forbidden", "no")]

    error = helm_error()
    made = bench(release=FakeRelease(raises={"upgrade": error}))
    with pytest.raises(HelmError) as raised:
        await run(folder, made, processes)
    assert raised.value is error, "the operator's own error passes through the plug-in as it is"
    assert made.recorder.phases[-1] == "OnDeployFailure."
    assert (made.recorder.findings.events, made.recorder.findings.incomplete) == ([EVENT], "no logs")


async def test_phases_that_are_not_overridden_need_no_process(tmp_path: Path) -> None:
    folder = write(tmp_path, p="class P(Lifecycle):\n    async def pre_delete(self, context, payload): return payload")
    made = bench()
    async with discovered(folder) as plugins:
        lifecycle = plugins.find("p")
        await plugins.processes.close()
        await lifecycle.run(made.context)
        assert plugins.processes._server is None
        assert (lifecycle.has(Phase.PRE_DELETE), lifecycle.has(Phase.POST_DELETE)) == (True, False)
    assert made.release.calls[-1] == "upgrade"


UNHANDLED = "Unhandled error in phase PostExec: "
ENDS = [
    ("raise LifecycleError('no quota', hint='Ask.', transient=False)", "no quota", Reason.LIFECYCLE_FAILED),
    ("{}['nodes']", "Unhandled error in phase PostExec: KeyError: 'nodes'", Reason.INTERNAL_ERROR),
    ("sys.exit(3)", "Unhandled error in phase PostExec: SystemExit: 3", Reason.INTERNAL_ERROR),
    ("os._exit(3)", "{p} failed: The process of the plug-in ended with exit code 3", Reason.LIFECYCLE_FAILED),
    ("os.abort()", "{p} failed: The process of the plug-in was ended by signal 6 (Aborted)", Reason.LIFECYCLE_FAILED),
    ("bytearray(2 << 30)", "{p} needs more than 256 MiB of memory", Reason.LIFECYCLE_FAILED),
    ("while True: pass", "{p} did not end within 0.5 s of its own time", Reason.PHASE_TIMEOUT),
    ("time.sleep(100)", "{p} did not end within 0.5 s of its own time", Reason.PHASE_TIMEOUT),
    ("await asyncio.sleep(100)", "{p} did not end within 0.5 s of its own time", Reason.PHASE_TIMEOUT),
    ("while True: await context.cluster.get(ObjectRef('v1', 'Pod', 'n'))", "{p} did not end within 0.5 s of its own time",
     Reason.PHASE_TIMEOUT),
    ("return None", f"{UNHANDLED}TypeError: post_exec returned NoneType instead of the payload: end it with return payload",
     Reason.INTERNAL_ERROR),
    ("return {'a': object()}", "Unhandled error in phase PostExec: TypeError: a object cannot be passed between processes",
     Reason.INTERNAL_ERROR),
]  # fmt: skip


async def test_a_phase_without_async_is_reported(processes: PluginProcesses, tmp_path: Path) -> None:
    folder = write(tmp_path, p="class P(Lifecycle):\n    def post_exec(self, context, payload): return payload\n")
    async with discovered(folder, processes) as plugins:
        with pytest.raises(OperatorError, match="post_exec is not a coroutine: begin it with async def"):
            await plugins.find("p").run(bench().context)


async def test_what_a_plugin_does_ends_its_phase_and_nothing_else(
    processes: PluginProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another, all from the same server: the next phase always runs."""
    # What does not hang has time for it.
    monkeypatch.setattr(deadline, "LEAST_SECONDS", 0.5)
    body = "class P(Lifecycle):\n    async def post_exec(self, context, payload):\n        {}\n"
    modules = {f"p{number}": body.format(code) for number, (code, _, _) in enumerate(ENDS)}
    folder = write(tmp_path, **modules, good=body.format("return {'a': {1}}"))
    async with discovered(folder, processes) as plugins:
        server = plugins.processes._server
        for number, (_, message, reason) in enumerate(ENDS):
            made = bench(timeout="500ms" if reason is Reason.PHASE_TIMEOUT else "1m")
            with pytest.raises(OperatorError) as raised:
                await plugins.find(f"p{number}").run(made.context)
            name = f"Phase PostExec of the lifecycle p{number} (plug-in p{number}.py)"
            assert (raised.value.message, raised.value.reason) == (message.replace("{p}", name), reason)
            if "KeyError" in message:
                assert raised.value.__cause__ is not None
                assert "p1.py" in raised.value.__cause__.__notes__[0]
        assert await plugins.find("good").run(bench().context) == {"a": [1]}
        assert plugins.processes._server is server


async def test_a_hanging_phase_leaves_the_loop_to_others(processes: PluginProcesses, tmp_path: Path) -> None:
    """While one plug-in loops, another one and the event loop go on."""
    body = "class P(Lifecycle):\n    async def pre_exec(self, context, payload):\n        {}\n        return payload\n"
    folder = write(tmp_path, hang=body.format("while True: pass"), good=body.format("await asyncio.sleep(0)"))
    async with discovered(folder, processes) as plugins:
        hanging = asyncio.create_task(plugins.find("hang").run(bench(timeout="1h").context))
        await plugins.find("good").run(bench().context)
        assert not hanging.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging


async def test_the_clock_stands_still_while_the_operator_works(
    processes: PluginProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout takes as long as it may; what the plug-in does itself counts."""
    monkeypatch.setattr(deadline, "LEAST_SECONDS", 2.0)

    class Slow(FakeRelease):
        async def upgrade(self, *, take_ownership: bool = False) -> str:
            await asyncio.sleep(2.5)
            return await super().upgrade(take_ownership=take_ownership)

    body = "class P(Lifecycle):\n    async def deploy(self, context, payload):\n        {}\n        {}\n        return {{}}\n"
    folder = write(
        tmp_path,
        p=body.format("await context.release.upgrade()", "await asyncio.sleep(0.1)"),
        q=body.format("await context.release.upgrade()", "await asyncio.sleep(60)"),
    )
    async with discovered(folder, processes) as plugins:
        runs = [plugins.find(name).run(bench(release=Slow(), timeout="2s").context) for name in "pq"]
        done, late = await asyncio.gather(*runs, return_exceptions=True)
        assert done == {}
        assert isinstance(late, LifecycleError)
        assert re.match(r"Phase Exec of the lifecycle q .* did not end within 2 s", late.message)


async def test_rollouts_of_plugins_hold_no_place(tmp_path: Path) -> None:
    """With one place, three upgrades run at once, and each phase works alone before and after its own."""
    together = asyncio.Barrier(3)

    class Waiting(FakeRelease):
        async def upgrade(self, *, take_ownership: bool = False) -> str:
            async with asyncio.timeout(20):
                await together.wait()
            return await super().upgrade(take_ownership=take_ownership)

    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def deploy(self, context, payload):
                return {"said": await context.release.upgrade()}
        """,
    )
    processes = PluginProcesses(places=1)
    async with discovered(folder, processes) as plugins:
        runs = [plugins.find("p").run(bench(release=Waiting()).context) for _ in range(3)]
        assert await asyncio.gather(*runs) == [{"said": "deployed"}] * 3
    await processes.close()
    assert (processes.places.growth, processes.places.phases.held) == (0, 0)


@pytest.mark.parametrize("ends", ["os._exit(1)", "await asyncio.sleep(60)"])
async def test_what_runs_for_a_plugin_ends_with_it(processes: PluginProcesses, tmp_path: Path, ends: str) -> None:
    """helm, for one, is cancelled in order, and its end awaited: when the process ends, and when the pass is cancelled."""
    began, ended = asyncio.Event(), asyncio.Event()

    class Endless(FakeRelease):
        async def chart_version(self) -> str:
            await began.wait()
            return "1.0.0"

        async def upgrade(self, *, take_ownership: bool = False) -> str:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                ended.set()
            return ""

    folder = write(
        tmp_path,
        p=f"""
        class P(Lifecycle):
            async def deploy(self, context, payload):
                upgrade = asyncio.create_task(context.release.upgrade())
                await asyncio.sleep(0)
                await context.release.chart_version()  # which is told when that has begun
                {ends}
        """,
    )
    async with discovered(folder, processes) as plugins:
        task = asyncio.create_task(plugins.find("p").run(bench(release=Endless()).context))
        await began.wait()
        if "sleep" in ends:
            task.cancel()
        with pytest.raises(asyncio.CancelledError if "sleep" in ends else LifecycleError):
            await task
        assert ended.is_set()


async def test_a_plugin_can_cancel_a_call(processes: PluginProcesses, tmp_path: Path) -> None:
    """`asyncio.timeout` around a call ends it in the operator, before the plug-in goes on."""
    began, ended = asyncio.Event(), asyncio.Event()

    class Endless(FakeRelease):
        async def chart_version(self) -> str:
            await began.wait()
            return "1.0.0"

        async def manifest(self) -> list[dict[str, Any]]:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return []

    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                try:
                    async with asyncio.timeout(None) as limit:
                        call = asyncio.create_task(context.release.manifest())
                        await asyncio.sleep(0)
                        await context.release.chart_version()  # which is told when that has begun
                        limit.reschedule(0)
                        await call
                except TimeoutError:
                    return {"late": True}
        """,
    )
    assert await run(folder, bench(release=Endless()), processes) == {"late": True}
    assert ended.is_set()


async def test_nothing_that_a_plugin_has_started_outlives_its_phase(processes: PluginProcesses, tmp_path: Path) -> None:
    """Neither a child nor one that has left its session."""
    folder = write(
        tmp_path,
        p="""
        import subprocess
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                child = subprocess.Popen(["sleep", "600"])
                other = subprocess.Popen(["setsid", "sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
                return {"pids": [child.pid, other.pid, int(other.stdout.readline())]}
        """,
    )
    payload = await run(folder, bench(), processes)
    for pid in payload["pids"]:
        assert not await asyncio.to_thread(Path(f"/proc/{pid}").exists)


async def test_a_plugin_sees_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter22")
    monkeypatch.setenv("PLUGIN_MODE", "strict")
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                return {"env": dict(os.environ), "files": len(os.listdir("/proc/self/fd"))}
        """,
    )
    payload = await run(folder, bench())
    assert "AWS_SECRET_ACCESS_KEY" not in payload["env"]
    assert payload["env"]["PLUGIN_MODE"] == "strict"
    assert payload["files"] <= 8  # standard descriptors, the connection, three of asyncio, the folder itself


async def test_output_and_log_lines_are_bounded(
    processes: PluginProcesses, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                print("printed" + "x" * 5000)
                context.logger.info("logged")
                for _ in range(1000):
                    context.logger.info("many")
                for _ in range(100):
                    context.recorder.warn("Many", "w")
                return payload
        """,
    )
    made = bench()
    await run(folder, made, processes)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("printedxxx") and len(line) <= 2000 for line in lines)
    assert "logged" in lines
    assert lines.count("many") <= 200
    assert "further lines of the plug-in are left out in this phase" in lines
    assert len(made.recorder.warnings) == 32


FORBIDDEN = [
    ('{"id": 1, "call": "cluster.request", "args": []}', "the unknown call 'cluster.request'"),
    ('{"id": 1, "call": "cluster.client", "args": []}', "the unknown call 'cluster.client'"),
    ('{"id": 1, "call": "cluster.get", "args": ["x"]}', "a str instead of a ObjectRef"),
    ('{"id": 1, "call": "cluster.list", "args": ["v1", "Pod"], "options": {"x": 1}}', "unknown options"),
    ('{"id": 1, "call": "release.__class__", "args": []}', "the unknown call"),
    ('{"id": {}, "call": "release.uninstall", "args": []}', "a call without a number"),
    ('{"call": "recorder.phase_ended", "args": []}', "the unknown call 'recorder.phase_ended'"),
    ('{"call": "recorder.evidence", "args": [{"events": [{}], "containers": []}]}', "evidence of another form"),
    ('{"payload": 1}', "no result"),
    ("[]", "it is not an object"),
    ("nonsense", "Expecting value"),
    ("[" * 100_000, "nested too deeply"),
    ("{" + " " * (9 << 20) + "}", "it has 9437186 bytes"),
]


async def test_other_messages_than_calls_end_the_phase(processes: PluginProcesses, tmp_path: Path) -> None:
    """Nothing that a plug-in's process sends is unpickled or looked up by name."""
    folder = write(
        tmp_path / "plugins",
        p=f"""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                with open({str(tmp_path / "message")!r}, "rb") as file:
                    data = file.read()
                context.release._channel._connection.sendall(len(data).to_bytes(8, "big") + data)
                await asyncio.sleep(60)
        """,
    )
    async with discovered(folder, processes) as plugins:
        for message, problem in FORBIDDEN:
            (tmp_path / "message").write_text(message)
            with pytest.raises(LifecycleError, match=re.escape(problem)):
                await plugins.find("p").run(bench().context)


async def test_a_large_manifest_arrives(processes: PluginProcesses, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                return {"sizes": [len(each["data"]) for each in await context.release.manifest()]}
        """,
    )
    objects = [{"data": "x" * 1_000_000} for _ in range(12)]
    assert await run(folder, bench(release=FakeRelease(objects=objects)), processes) == {"sizes": [1_000_000] * 12}


async def test_the_server_is_started_again(tmp_path: Path) -> None:
    folder = write(tmp_path, p="class P(Lifecycle):\n    async def pre_exec(self, context, payload): return {'a': 1}")
    async with discovered(folder) as plugins:
        assert plugins.processes._server is not None
        before = plugins.processes._server
        before.kill()
        await asyncio.to_thread(before.wait)
        while plugins.processes._server is before:  # noqa: ASYNC110 -- what the event loop sees next
            await asyncio.sleep(0.01)
        assert await plugins.find("p").run(bench().context) == {"a": 1}


@pytest.mark.parametrize("action", [Action.DESTROY, Action.SKIP])
async def test_other_actions_run(processes: PluginProcesses, tmp_path: Path, action: Action) -> None:
    folder = write(
        tmp_path,
        p="""
        class P(Lifecycle):
            async def destroy(self, context, payload):
                return {**await super().destroy(context, payload), "destroyed": True}
        """,
    )
    operation = {Action.DESTROY: Operation.UNINSTALL, Action.SKIP: Operation.SKIP}[action]
    expected = {"destroyed": True} if action is Action.DESTROY else {}
    assert await run(folder, bench(action=action, operation=operation), processes) == expected


async def test_a_tree_of_processes_ends_with_its_phase(processes: PluginProcesses, tmp_path: Path) -> None:
    """As of a fork bomb, which nothing here limits: each in a session of its own, and the phase hangs."""
    mark = tmp_path / "alive"
    folder = write(
        tmp_path / "plugins",
        p=f"""
        class P(Lifecycle):
            async def pre_exec(self, context, payload):
                for _ in range(5):
                    if os.fork() == 0:
                        os.setsid()
                with open({str(mark)!r}, "a") as file:
                    file.write(f"{{os.getpid()}} ")
                time.sleep(60)
        """,
    )
    phase = asyncio.create_task(run(folder, bench(timeout="1h"), processes))
    async with asyncio.timeout(60):
        while not mark.exists() or mark.read_text().count(" ") < 32:  # noqa: ASYNC110 -- by other processes
            await asyncio.sleep(0.05)
    phase.cancel()
    with pytest.raises(asyncio.CancelledError):
        await phase
    pids = mark.read_text().split()
    assert len(pids) == 32
    assert [pid for pid in pids if await asyncio.to_thread(Path(f"/proc/{pid}").exists)] == []


@pytest.mark.parametrize(
    ("phase", "is_its_own"),
    [
        ("async def pre_exec(self, context, payload): raise LifecycleError('no')", True),
        ("async def pre_exec(self, context, payload): raise ValueError('no')", True),
        ("async def pre_exec(self, context, payload): os._exit(3)", True),
        ("async def deploy(self, context, payload): return await super().deploy(context, payload)", False),
    ],
    ids=["error", "defect", "exit", "release"],
)
async def test_what_the_code_of_a_plugin_raises_has_its_version(
    processes: PluginProcesses, tmp_path: Path, phase: str, is_its_own: bool
) -> None:
    """A changed plug-in is the remedy for that, and not for what the release or the cluster refuses."""
    folder = write(tmp_path, p=f"class P(Lifecycle):\n    {phase}\n")
    release = FakeRelease(raises={"upgrade": helm_error()})
    async with discovered(folder, processes) as plugins:
        with pytest.raises(OperatorError) as raised:
            await plugins.find("p").run(bench(release=release).context)

        assert raised.value.plugin == (plugins.found["p"].version if is_its_own else None)
