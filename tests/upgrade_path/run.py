"""One upgrade: the old operator and its CRDs, the ManagedCharts, the present CRDs and operator, and what must hold then.

Boundary: needs the devcluster. The cluster and the checkout are deleted at the end; after a failure the logs stay.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_kind import KindCluster

from benchmark.metrics import HELM_STARTED, RECONCILES, Metrics
from harness.cluster import MANAGEDCHARTS, Cluster, wait_established
from harness.fixtures import REPOSITORY
from harness.operator_process import OperatorProcess, service_account_kubeconfig
from peers import ChartRepository
from upgrade_path.carried_out import carry_out, change, until_idle, wait
from upgrade_path.fleet import HOMES, ROOTS, TARGETS, UPGRADED_AGAIN, WEB, Wanted, fleet
from upgrade_path.old_operator import checked_out
from upgrade_path.state import Key, State, changed_ready, changed_revisions, objects_in, state_of, written

Say = Callable[[str], None]
_POLL_SECONDS = 0.5
# Thirty uninstalls take half a minute on two cores, and what is deleted in the background a few seconds more.
_DELETED_SECONDS = 240.0
_BACKGROUND_SECONDS = 60.0
# It asks for the version at every start of the operator, which is not about a release.
_HELM = """#!/bin/sh
[ "$1" = version ] || echo "$1 $2" >>'{log}'
exec '{helm}' "$@"
"""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, and whether it is as promised."""

    what: str
    found: str
    good: bool

    def __str__(self) -> str:
        return f"{'good ' if self.good else 'WRONG'}  {self.what:52}  {self.found}"


def run(commit: str, *, kind: Path, kubectl: Path, helm: Path, say: Say) -> list[Check]:
    """Upgrade from a commit, and return all checks."""
    folder = Path(tempfile.mkdtemp(prefix="upgrade-path-"))
    checks: list[Check] = []
    try:
        say(f"checking {commit} out, with an environment of its own")
        with (
            checked_out(commit, folder / "old-files") as old,
            _cluster(folder, kind, kubectl) as cluster,
            ChartRepository(helm=helm) as repository,
        ):
            repository.add_chart(Path(WEB["path"]))
            upgrade = _Upgrade(cluster, folder, helm=helm, repository=repository.url, say=say)
            upgrade.deploy(old.files, old.python)
            checks += upgrade.checks()
    finally:
        shutil.rmtree(folder / "old-files", ignore_errors=True)
        if list(folder.glob("*/operator-*.log")) and not (checks and all(check.good for check in checks)):
            say(f"the operators' logs are in {folder}")
        else:
            shutil.rmtree(folder)
    return checks


@contextmanager
def _cluster(folder: Path, kind_path: Path, kubectl: Path) -> Iterator[Cluster]:
    kind = KindCluster(f"upgrade-{os.getpid()}", folder / "kubeconfig", kind_path=kind_path, kubectl_path=kubectl)
    kind.create()
    try:
        yield Cluster(kind)
    finally:
        kind.delete()
        shutil.rmtree(kind.path, ignore_errors=True)


class _Upgrade:
    def __init__(self, cluster: Cluster, folder: Path, *, helm: Path, repository: str, say: Say) -> None:
        self._cluster, self._folder, self._say = cluster, folder, say
        self._helm, self._helm_log = folder / "helm", folder / "helm.log"
        self._helm.write_text(_HELM.format(log=self._helm_log, helm=helm))
        self._helm.chmod(0o755)
        self._helm_log.touch()
        values = folder / "values" / "values.yaml"
        values.parent.mkdir()
        values.write_text("message: from a file\nport: 8081\n")
        self._roots = [*ROOTS, values.parent]
        self._wanted = fleet(repository=repository, values_file=values)
        self._refused: list[Wanted] = []

    def deploy(self, files: Path, python: Path) -> None:
        """Let the old operator carry out all specs, with its own CRDs and roles, and stop it."""
        self._install(files)
        for name in (*HOMES, TARGETS[0]):
            self._cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
        self._say(f"the old operator deploys {len(self._wanted)} ManagedCharts")
        with self._operator("old", python=python) as operator:
            self._refused = carry_out(self._cluster, self._wanted)
            until_idle(operator, passes=len(self._wanted))

    def checks(self) -> list[Check]:
        """Apply the present CRDs and roles, start the present operator, and check what it does."""
        before, helms = state_of(self._cluster), len(self._helms())
        self._say("the new operator looks at them")
        self._install(REPOSITORY)
        with self._operator("new") as operator:
            until_idle(operator, passes=len(self._wanted))
            started, metrics = self._helms()[helms:], Metrics.read(operator.port)
            return [
                *self._untouched(started, metrics, before, state_of(self._cluster)),
                *(self._upgraded(each) for each in self._wanted if each.name in UPGRADED_AGAIN),
                *self._deleted(),
            ]

    def _untouched(self, started: list[str], metrics: Metrics, before: State, after: State) -> list[Check]:
        clamped = {each.key for each in self._wanted if each.beyond and each not in self._refused}
        verdicts = {name: int(metrics.sum(RECONCILES, verdict=name)) for name in ("InSync", "Hold", "Run", "Wait")}
        revisions, ready = changed_revisions(before, after), changed_ready(before, after)
        writes = written(before, after)
        as_promised = {key for key, parts in writes.items() if key in clamped and parts == ["condition Clamped"]}
        other = [f"{'/'.join(key)} ({', '.join(parts)})" for key, parts in writes.items() if key not in as_promised]
        found = ", ".join(f"{count} {name}" for name, count in verdicts.items() if count)
        return [
            Check("what the new operator finds", found, not verdicts["Run"] and not verdicts["Wait"]),
            Check("helm processes that it starts", _listed(started), not started and not metrics.sum(HELM_STARTED)),
            Check(f"changes of {len(before.revisions)} revisions", _listed(revisions), not revisions),
            Check(f"changes of {len(before.charts)} conditions Ready", _listed(ready), not ready),
            Check("new conditions Clamped", _listed(_names(as_promised)), as_promised == clamped),
            Check("other changes of ManagedCharts", _listed(other), not other),
            Check(
                "values beyond a bound, refused by the old CRD",
                _listed(_names(each.key for each in self._refused)),
                True,
            ),
        ]

    def _upgraded(self, wanted: Wanted) -> Check:
        """Change a value: one helm process makes one revision of this release, and no other release gets one."""
        before, helms = state_of(self._cluster), len(self._helms())
        change(self._cluster, wanted, {"values": {"message": "after the upgrade"}})
        wait(self._cluster, wanted, given_up=False)
        made = sorted(name for _, name in state_of(self._cluster).revisions.keys() - before.revisions.keys())
        number = max(number for number, _ in self._cluster.revisions(wanted.namespace, wanted.name))
        good = made == [f"sh.helm.release.v1.{wanted.name}.v{number}"] and len(self._helms()) == helms + 1
        return Check(f"revisions after a change of {wanted.name}", _listed(made), good)

    def _deleted(self) -> list[Check]:
        """Delete all ManagedCharts: no release Secret and no object is left."""
        self._say("deleting all")
        for namespace in HOMES:
            self._cluster.delete(f"{MANAGEDCHARTS}/namespaces/{namespace}/managedcharts")
        self._cluster.wait_empty(f"{MANAGEDCHARTS}/managedcharts", timeout=_DELETED_SECONDS)
        secrets = ["/".join(key) for key in state_of(self._cluster).revisions]
        deadline = time.monotonic() + _BACKGROUND_SECONDS
        while (left := objects_in(self._cluster, *HOMES, *TARGETS)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)  # all kinds at once cannot be watched
        return [
            Check("release Secrets after the deletion of all", _listed(secrets), not secrets),
            Check("objects after the deletion of all", _listed(left), not left),
        ]

    def _install(self, repository: Path) -> None:
        """Apply the CRDs as docs/upgrade.md says, then the operator's identity."""
        self._cluster.kubectl("apply", "--server-side", f"--kustomize={repository / 'crds'}")
        for file in (repository / "crds").glob("*.yaml"):
            if file.stem != "kustomization":
                wait_established(self._cluster, f"{file.stem}s.managedchart.dev")
        identity = [
            f"--filename={repository / 'deploy' / name}.yaml" for name in ("namespace", "serviceaccount", "rbac")
        ]
        self._cluster.kubectl("apply", *identity)

    def _operator(self, name: str, *, python: Path = Path(sys.executable)) -> OperatorProcess:
        """Return an operator with an empty cache, as that of a new pod is."""
        return OperatorProcess(
            kubeconfig=service_account_kubeconfig(self._cluster, self._folder / f"{name}.kubeconfig"),
            folder=self._folder / name,
            helm=str(self._helm),
            chart_roots=self._roots,
            python=python,
        )

    def _helms(self) -> list[str]:
        return self._helm_log.read_text().splitlines()


def _names(keys: Iterable[Key]) -> list[str]:
    return sorted(name for _, name in keys)


def _listed(found: Collection[str]) -> str:
    return f"{len(found)}: {', '.join(sorted(found))}" if found else "none"
