"""One team keeps everything busy that it can reach; the charts of another one go on."""

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.chart_files import chart_files, contents, package_chart, write_chart
from harness.cluster import managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant
from peers import ChartRepository

_ENDLESS = '{{- range until 1000000 }}{{ range until 1000000 }}{{ end }}{{ end -}}\nkind: ""\n'
_NEVER_READY = """apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {devcluster.managedchart.dev/fail: never}
    spec: {containers: [{name: c, image: "example.com/c:1"}]}
"""
_HOSTILE = 50
_INSTALLS = 5
_SECONDS = 30.0


@contextmanager
def tarpit() -> Iterator[str]:
    """The address of a repository that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def _hostile(number: int, silent: str) -> dict[str, Any]:
    """A template that never ends, a pull that never answers, or a release that never becomes ready."""
    retry = {"limit": 1000, "backoff": "1s", "maxBackoff": "1s"}
    name = f"hostile-{number}"
    match number % 3:
        case 0:
            spins = contents(package_chart(chart_files(spins=_ENDLESS)))
            return managedchart(name, spins, timeout="1h", retry=retry)
        case 1:
            return managedchart(name, {"repository": f"{silent}/{number}", "name": "web"}, retry=retry)
        case _:
            return managedchart(name, contents(package_chart(chart_files(waits=_NEVER_READY))), timeout="1h")


@pytest.fixture
def repository(helm_binary: str, tmp_path: Path) -> Iterator[ChartRepository]:
    """A repository with a chart in as many versions as there are installs, so that each is pulled."""
    repository = ChartRepository(helm=Path(helm_binary))
    chart = write_chart(tmp_path / "small")
    for version in range(2 * _INSTALLS + 1):
        repository.add_chart(chart, version=f"1.0.{version}")
    with repository:
        yield repository


def _install(team: Tenant, repository: ChartRepository, version: int) -> float:
    """Install a chart that has to be pulled; returns the seconds until it is Ready."""
    name = f"web-{version}"
    source = {"repository": repository.url, "name": "small", "version": f"1.0.{version}"}
    began = time.monotonic()
    team.create(managedchart(name, source))
    team.cluster.wait_ready(team.namespace, name)
    return time.monotonic() - began


def test_the_charts_of_others_go_on(
    strict_operator: OperatorProcess, teams: tuple[Tenant, Tenant], repository: ChartRepository
) -> None:
    """S12, S12b: with 50 such resources of one namespace, an install of another one takes at most twice its time."""
    attacker, victim = teams
    _install(victim, repository, 2 * _INSTALLS)  # the first one is slower: caches
    alone = [_install(victim, repository, version) for version in range(_INSTALLS)]
    with tarpit() as silent:
        for number in range(_HOSTILE):
            attacker.create(_hostile(number, silent))
        _until_busy(strict_operator)
        beside = [_install(victim, repository, version) for version in range(_INSTALLS, 2 * _INSTALLS)]
        applying = strict_operator.metric("managedchart_helm_applying")
        running = strict_operator.metric("managedchart_helm_processes")
        # Before the cleanup: with 50 deletions, and templates that never end, it would take the CPU from the next test.
        assert strict_operator.stop() == 0
    ratio = statistics.median(beside) / statistics.median(alone)
    print(
        f"alone {_listed(alone)} s, beside {_listed(beside)} s: {ratio:.2f} times; helm: {applying:.0f} applying of 4,",
        end=" ",
    )
    print(f"{running:.0f} running of 12")
    assert applying <= 2
    assert running <= 6
    assert statistics.median(beside) <= 2 * statistics.median(alone), (
        f"{_listed(beside)} s instead of {_listed(alone)} s"
    )


def _until_busy(operator: OperatorProcess) -> None:
    """Return when the attack has all that it can get: its share of apply slots and of helm processes."""
    deadline = time.monotonic() + _SECONDS
    while (
        operator.metric("managedchart_helm_applying") < 2
        or operator.metric("managedchart_helm_processes") < 6
        or operator.metric("managedchart_reconciles_running") < _HOSTILE // 2
    ):
        assert time.monotonic() < deadline, "the attack does not come about"
        time.sleep(0.1)  # the metrics cannot be watched


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in seconds)
