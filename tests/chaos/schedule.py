"""What happens in a run, and when: a pure function of the seed.

Purpose: one list of actions that can be printed and made again. Boundary: nothing is done here. Invariant: the same seed,
number of resources and seconds give the same list. What the list meets is not in it: which helm runs at a moment
depends on the machine, so a replay repeats the actions at their times, not the interleaving to the millisecond.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CHARTS = ("web", "hooks", "raw")
HOME_NAMESPACES = 4
JOBS = "chaos.managedchart.dev/job"
"""The label of the Jobs of actions."""
_FAIL = "devcluster.managedchart.dev/fail"
_DELAY = "devcluster.managedchart.dev/delay-seconds"
_RUN = "devcluster.managedchart.dev/run-seconds"


class Pods(StrEnum):
    """How the pods, or the hooks, of a wish behave."""

    QUICK = "quick"
    SLOW = "slow"
    """Ready after a few seconds, so that helm waits and can be met while it does."""
    NEVER = "never"
    """Never ready: helm's timeout ends it."""
    CRASH = "crash"
    """Dies: the operator ends helm, or the hook fails."""


class Verb(StrEnum):
    """What an action does."""

    APPLY = "apply"
    DELETE = "delete"
    KILL_OPERATOR = "kill operator"
    STOP_OPERATOR = "stop operator"
    KILL_HELM = "kill helm"
    RESTART_API_SERVER = "restart the API server"


@dataclass(frozen=True, slots=True)
class Resource:
    """A ManagedChart that the run creates, changes and deletes; its release has its name."""

    name: str
    chart: str
    namespace: str
    target: str | None
    """Another namespace for the release, which helm creates."""
    patient: bool
    """Has the default retry policy instead of a quick one."""

    @property
    def release_namespace(self) -> str:
        """Where the release lives."""
        return self.target or self.namespace


@dataclass(frozen=True, slots=True)
class Wish:
    """What a spec asks for. `message` is unique, so that what is deployed tells which wish it comes from."""

    message: str
    pods: Pods = Pods.QUICK
    size: int = 1
    """Replicas of web, objects of raw."""
    destroy: bool = False

    @property
    def must_fail(self) -> bool:
        """Whether this can never become Ready."""
        return not self.destroy and self.pods in (Pods.NEVER, Pods.CRASH)


@dataclass(frozen=True, slots=True)
class Action:
    """One action; `at` is in seconds from the begin."""

    at: float
    verb: Verb
    resource: Resource | None = None
    wish: Wish | None = None
    chance: float = 0.0
    """For kills, from 0 to 1: which helm of those that run; how long the operator stays down."""

    def __str__(self) -> str:
        parts = [f"{self.at:6.2f} s  {self.verb}"]
        if self.resource:
            parts.append(f"{self.resource.namespace}/{self.resource.name}")
        if self.wish:
            asks = "Destroy" if self.wish.destroy else f"{self.wish.pods} x{self.wish.size}"
            parts.append(f"{self.wish.message}: {asks}")
        if self.verb in (Verb.KILL_OPERATOR, Verb.STOP_OPERATOR, Verb.KILL_HELM):
            parts.append(f"{self.chance:.2f}")
        return " ".join(parts)


def resources(number: int) -> tuple[Resource, ...]:
    """Return the resources of a run: all charts, both kinds of namespaces, both kinds of retry policy."""
    return tuple(
        Resource(
            name=f"r{i:02}",
            chart=CHARTS[i % len(CHARTS)],
            namespace=f"chaos-{i % HOME_NAMESPACES}",
            target=f"chaos-target-{i % 2}" if i % 5 == 2 else None,
            patient=i % 10 == 9,
        )
        for i in range(number)
    )


def schedule(seed: int, *, number: int, seconds: float) -> tuple[Action, ...]:
    """Return the actions of a run in their order; every resource is created in the first sixth of it."""
    chance = random.Random(seed)
    actions = [
        *_wishes(chance, resources(number), seconds),
        *(
            Action(chance.uniform(0.05, 1) * seconds, verb, chance=chance.random())
            for verb, every, least in (
                (Verb.KILL_OPERATOR, 12.0, 2),
                (Verb.STOP_OPERATOR, 30.0, 1),
                (Verb.KILL_HELM, 3.0, 5),
                (Verb.RESTART_API_SERVER, 25.0, 1),
            )
            for _ in range(max(least, round(seconds / every)))
        ),
    ]
    return tuple(sorted(actions, key=lambda action: action.at))


def _wishes(chance: random.Random, charts: tuple[Resource, ...], seconds: float) -> Iterator[Action]:
    """Yield what each resource is asked for: a creation, then changes and deletes; after a delete comes a creation."""
    for resource in charts:
        created = chance.uniform(0, seconds / 6)
        later = sorted(chance.uniform(created, seconds) for _ in range(chance.choice((1, 2, 3, 4, 5))))
        there = False
        for turn, at in enumerate((created, *later)):
            kind = chance.choices(("good", "slow", "bad", "destroy", "delete"), (40, 25, 12, 8, 15))[0]
            size, pods = chance.randint(1, 3), chance.choice((Pods.NEVER, Pods.CRASH))
            if kind == "delete" and there:
                yield Action(at, Verb.DELETE, resource)
                there = False
                continue
            there = True
            yield Action(
                at,
                Verb.APPLY,
                resource,
                Wish(
                    message=f"{resource.name}-{turn}",
                    pods={"slow": Pods.SLOW, "bad": pods}.get(kind, Pods.QUICK),
                    size=size,
                    destroy=kind == "destroy",
                ),
            )


def values(resource: Resource, wish: Wish) -> dict[str, object]:
    """Return the values by which the test charts fulfil a wish."""
    match resource.chart:
        case "web":
            pods = {Pods.QUICK: {}, Pods.SLOW: {_FAIL: "slow", _DELAY: "3"}}.get(wish.pods, {_FAIL: str(wish.pods)})
            return {"message": wish.message, "replicas": wish.size, "podAnnotations": pods}
        case "hooks":
            job = {
                Pods.QUICK: {},
                Pods.SLOW: {_RUN: "1.5"},
                Pods.NEVER: {_FAIL: "never"},
                Pods.CRASH: {_FAIL: "job-fail"},
            }[wish.pods]
            return {"message": wish.message, "pre": {"podAnnotations": job}}
        case _:
            return {"objects": [_raw_object(resource, wish, i) for i in range(wish.size)]}


def _raw_object(resource: Resource, wish: Wish, number: int) -> dict[str, object]:
    """An object of the chart raw: ConfigMaps, and one that the API server refuses where the wish must fail."""
    name: object = f"{resource.name}-{number}"
    if wish.must_fail and number == wish.size - 1:
        name = f"{resource.name}_refused"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"message": wish.message}}


def spec(resource: Resource, wish: Wish, *, charts: str) -> dict[str, Any]:
    """Return the spec that asks for a wish; `charts` is the folder of the test charts."""
    quick = {"limit": 1, "backoff": "1s"} if wish.must_fail else {"limit": 100, "backoff": "1s", "maxBackoff": "4s"}
    return {
        "chart": {"path": f"{charts}/{resource.chart}"},
        "values": values(resource, wish),
        "timeout": "3s" if wish.pods is Pods.NEVER else "60s",
        **({"retry": quick} if wish.must_fail or not resource.patient else {}),
        **({"targetNamespace": resource.target} if resource.target else {}),
        **({"action": "Destroy"} if wish.destroy else {}),
        "lifecycle": {"actions": actions(resource)},
    }


def actions(resource: Resource) -> list[dict[str, object]]:
    """Return the actions around a chart: what must happen once for a revision, a check, and what cleans up.

    The labels are those by which the verdict knows what a release has left.
    """
    release = {"app.kubernetes.io/instance": resource.name}
    jobs = {"kind": "Job", "selector": {"matchLabels": {**release, JOBS: "once"}}, "max": 100}
    stored = {"kind": "Secret", "selector": {"matchLabels": {"owner": "helm", "name": resource.name}}}
    restart = {"name": "restart", "phase": "PostExec", "restart": {"kind": "Deployment", "name": resource.name}}
    return [
        {
            "name": "once",
            "phase": "PostExec",
            "job": {"image": "registry.example/once:1", "labels": {**release, JOBS: "once"}},
        },
        *([restart] if resource.chart == "web" else []),
        {"name": "stored", "phase": "Validate", "exists": stored},
        {"name": "clean-up", "phase": "PostDelete", "delete": jobs},
        # The uninstall of a failed first install has no PostDelete.
        {"name": "clean-up-failed", "phase": "OnDeployFailure", "delete": jobs},
    ]
