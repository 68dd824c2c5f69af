"""One run: a cluster and an operator of its own, the schedule, the verdict.

Purpose: brings the parts together. Boundary: needs the devcluster, since it kills the API server. Invariants: the seed and
every action are told before anything happens; the cluster is gone at the end; after a failure the logs stay.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pytest_kind import KindCluster

from chaos.helm_guard import HelmGuard
from chaos.restarted_operator import RestartedOperator
from chaos.schedule import HOME_NAMESPACES, Action, Verb, schedule
from chaos.users import Users
from chaos.verdict import await_settled, violations
from conftest import CHARTS, REPOSITORY
from harness.cluster import Cluster, install_operator_objects
from harness.operator_process import service_account_kubeconfig

# How long a kill of helm waits for one to appear: most of the time one runs.
_HELM_WITHIN = 2.0
_POLL_SECONDS = 0.02
# What is deleted in the background (pods, dependents) is gone well within this; what is left then stays.
_QUIET_SECONDS = 20.0
_DOWN_SECONDS = 1.5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chaos:
    """What a run is made of. `settle` bounds, in seconds, how long the end may take."""

    seed: int
    number: int
    seconds: float
    settle: float
    kind: Path
    kubectl: Path
    helm: str

    def run(self, say: Say) -> list[str]:
        """Make the run and return what was wrong."""
        actions = schedule(self.seed, number=self.number, seconds=self.seconds)
        say(f"seed {self.seed}: {self.number} resources, {len(actions)} actions in {self.seconds:g} s")
        for action in actions:
            say(f"  {action}")
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{self.seed}-"))
        with self._cluster(folder) as (kind, cluster):
            wrong = self._work(kind, cluster, folder, actions, say)
        if wrong:
            say(f"seed {self.seed} FAILED; the operator's logs are in {folder}")
        else:
            shutil.rmtree(folder)
        return wrong

    @contextmanager
    def _cluster(self, folder: Path) -> Iterator[tuple[KindCluster, Cluster]]:
        name = f"chaos-{self.seed}-{os.getpid()}"
        kind = KindCluster(name, folder / "kubeconfig", kind_path=self.kind, kubectl_path=self.kubectl)
        kind.create()
        try:
            cluster = Cluster(kind)
            install_operator_objects(cluster, REPOSITORY)
            for i in range(HOME_NAMESPACES):
                cluster.kubectl("create", "namespace", f"chaos-{i}")
            yield kind, cluster
        finally:
            kind.delete()
            shutil.rmtree(kind.path, ignore_errors=True)

    def _work(
        self, kind: KindCluster, cluster: Cluster, folder: Path, actions: tuple[Action, ...], say: Say
    ) -> list[str]:
        guard = HelmGuard(folder / "guard", helm=self.helm, identity=folder / "cache")
        operator = RestartedOperator(
            kubeconfig=service_account_kubeconfig(cluster, folder / "operator.kubeconfig"),
            folder=folder,
            helm=str(guard.program),
            chart_roots=[CHARTS],
        )
        users, api_server = Users(kind, charts=str(CHARTS)), _ApiServer(kind)
        stage = _Stage(users, operator, guard, api_server)
        with operator.kept_running():
            stage.play(actions, say)
            api_server.wait()
            _until(users.catch_up, seconds=self.settle)
            began = time.monotonic()
            wrong = await_settled(cluster, users.wishes, seconds=self.settle)
            settled = time.monotonic() - began
            _until(lambda: not guard.running(), seconds=_QUIET_SECONDS)
            if _until(lambda: not violations(cluster, users.wishes), seconds=_QUIET_SECONDS):
                wrong += [f"helm still runs: {what}" for _, what in guard.running()]
            else:
                wrong += violations(cluster, users.wishes)
        wrong += guard.overlaps + operator.surprises
        wrong += [f"{log.name} has a Traceback" for log in operator.logs if "Traceback" in log.read_text()]
        say(
            f"seed {self.seed}: {len(operator.logs)} operators ({operator.refused_starts} found no API server), "
            f"{guard.started} helms ({stage.killed} killed), {api_server.restarts} restarts of the API server, "
            f"settled within {settled:.1f} s of the last action"
        )
        return wrong


@dataclass(slots=True)
class _Stage:
    """Where the actions take place."""

    users: Users
    operator: RestartedOperator
    guard: HelmGuard
    api_server: "_ApiServer"
    killed: int = 0
    """How many helms were killed."""

    def play(self, actions: tuple[Action, ...], say: Say) -> None:
        """Carry out the actions at their times, or as soon after them as it goes."""
        began = time.monotonic()
        for action in actions:
            time.sleep(max(began + action.at - time.monotonic(), 0.0))
            self.users.catch_up()
            outcome = self._do(action)
            say(f"{datetime.now(UTC):%H:%M:%S.%f} {time.monotonic() - began:6.2f} s  did {action} {outcome}")

    def _do(self, action: Action) -> str:
        match action:
            case Action(verb=Verb.APPLY, resource=resource, wish=wish) if resource and wish:
                self.users.apply(resource, wish)
            case Action(verb=Verb.DELETE, resource=resource) if resource:
                self.users.delete(resource)
            case Action(verb=Verb.KILL_OPERATOR | Verb.STOP_OPERATOR as verb):
                number = signal.SIGKILL if verb is Verb.KILL_OPERATOR else signal.SIGTERM
                return "" if self.operator.end(number, down=action.chance * _DOWN_SECONDS) else "(it is down)"
            case Action(verb=Verb.KILL_HELM):
                _until(lambda: bool(self.guard.running()), seconds=_HELM_WITHIN)
                if what := self.guard.kill(action.chance):
                    self.killed += 1
                return f"({what or 'none runs'})"
            case Action(verb=Verb.RESTART_API_SERVER):
                self.api_server.restart()
        return ""


class _ApiServer:
    """Kills and starts the API server; one restart at a time, while other actions go on."""

    def __init__(self, kind: KindCluster) -> None:
        self._command = [str(kind.kind_path), "restart-apiserver", "--name", kind.name]
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    def restart(self) -> None:
        self.wait()
        self._process = subprocess.Popen(self._command)
        self.restarts += 1

    def wait(self) -> None:
        if self._process is not None and self._process.wait() != 0:
            raise AssertionError("the API server did not start again")


def _until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Look until a condition holds; processes and several collections at once cannot be watched."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
