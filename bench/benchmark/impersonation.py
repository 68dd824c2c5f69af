"""`make bench-impersonation`: installs as a ServiceAccount beside installs as the operator itself.

Each turn has a fresh operator, with an empty cache, and a fresh namespace with the same account and RoleBinding. The two turns
of a pair take place one after the other, and each pair begins with the other side, so that what changes on the machine
meanwhile meets both. All requests of the operator and of its helms count that the API server logs from the start of the
operator until it has nothing more to do; the log costs both sides the same for each request.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmark import audit, waves
from benchmark.metrics import RECONCILING, Metrics
from benchmark.results import environment
from benchmark.world import World, fresh, say
from harness.audit import read_audit_log
from harness.operator_process import SERVICE_ACCOUNT, SYSTEM_NAMESPACE, OperatorProcess

GOALS = {"median_ratio": 1.10, "extra_requests": 3.0}
ACCOUNT = "deployer"
_RBAC = "rbac.authorization.k8s.io"
_POLL_SECONDS = 0.1
# After the last Ready the operator still posts its Events.
_QUIET_SECONDS = 30.0


@dataclass(frozen=True)
class Turn:
    """All installs of one side: the seconds until the last was Ready, and the requests by program."""

    seconds: float
    requests: Counter[str]
    impersonated: int
    """How many of the requests were sent as the account."""


def run(*, n: int, pairs: int) -> dict[str, Any]:
    """Install n releases twice in each pair; return the document."""
    own: list[Turn] = []
    account: list[Turn] = []
    with fresh(audit=True) as world:
        where = environment(world.helm)
        for number in range(1, pairs + 1):
            # The odd pairs begin with the operator's own.
            sides = [(own, {}), (account, {"serviceAccountName": ACCOUNT})][:: 1 if number % 2 else -1]
            for turns, spec in sides:
                say(f"pair {number} of {pairs}: {n} installs as {spec.get('serviceAccountName', 'the operator')}")
                turns.append(_turn(world, n, f"turn-{len(own) + len(account)}", **spec))
    return {"n": n, **summary(own, account, n=n), "goals": GOALS, "environment": where}


def summary(own: Sequence[Turn], account: Sequence[Turn], *, n: int) -> dict[str, Any]:
    """Compare the turns pair by pair; the requests are means for one install."""
    ratios = [impersonated.seconds / plain.seconds for plain, impersonated in zip(own, account, strict=True)]
    without, with_account = (sum((turn.requests for turn in turns), Counter()) for turns in (own, account))
    installs = n * len(ratios)
    return {
        "own_seconds": [round(turn.seconds, 3) for turn in own],
        "impersonated_seconds": [round(turn.seconds, 3) for turn in account],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(median(ratios), 3),
        "own_requests": round(without.total() / installs, 2),
        "impersonated_requests": round(with_account.total() / installs, 2),
        "extra_requests": round((with_account.total() - without.total()) / installs, 2),
        "extra_by_program": {
            program: round((with_account[program] - without[program]) / installs, 2)
            for program in sorted({*without, *with_account})
        },
        "as_account": round(sum(turn.impersonated for turn in account) / installs, 2),
    }


def table(document: dict[str, Any]) -> str:
    """Return the document as text, each goal beside what was found."""
    lines = [f"{document['n']} installs", "", f"{'pair':>4} {'own s':>8} {'account s':>10} {'ratio':>7}"]
    pairs = zip(document["own_seconds"], document["impersonated_seconds"], document["ratios"], strict=True)
    lines += [
        f"{number:4} {own:8.2f} {account:10.2f} {ratio:7.3f}" for number, (own, account, ratio) in enumerate(pairs, 1)
    ]
    lines.append("")
    lines += [f"{name:15} {document[name]:7.3f}   goal: at most {goal:g}" for name, goal in document["goals"].items()]
    extra = ", ".join(f"{name} {count:+.2f}" for name, count in document["extra_by_program"].items())
    lines.append(
        f"requests for an install: {document['own_requests']:.2f} own, {document['impersonated_requests']:.2f} with an account"
        f" ({extra}); {document['as_account']:.2f} of these were sent as the account"
    )
    return "\n".join(lines)


def _turn(world: World, n: int, name: str, **spec: Any) -> Turn:
    assert world.audit_log is not None
    world.namespace(name)
    _account(world, name)
    names = [f"release-{number:03d}" for number in range(n)]
    before = len(read_audit_log(world.audit_log))
    with world.operator(name) as operator:
        seconds = waves.install(world.api, name, names, **spec)
        _until_idle(operator)
        found = read_audit_log(world.audit_log)[before:]
        waves.delete(world.api, name, names)
    user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{SERVICE_ACCOUNT}"
    mine = [request for request in found if request.user == user]
    return Turn(seconds, Counter(audit.by_client(mine)), sum(bool(request.impersonated) for request in mine))


def _account(world: World, namespace: str) -> None:
    """Create the account, and let it do what the charts need there; in turns that do not use it too, which changes nothing."""
    metadata = {"metadata": {"name": ACCOUNT}}
    world.api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", metadata)
    binding = {
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
    world.api.request("POST", f"/apis/{_RBAC}/v1/namespaces/{namespace}/rolebindings", metadata | binding)


def _until_idle(operator: OperatorProcess) -> None:
    deadline = time.monotonic() + _QUIET_SECONDS
    while Metrics.read(operator.port).sum(RECONCILING) > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the operator still works {_QUIET_SECONDS:.0f} s after the last install")
        time.sleep(_POLL_SECONDS)  # nothing of this is written anywhere but in the metrics
