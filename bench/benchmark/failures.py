"""`make bench-failures`: how soon a failure is named, and how soon its fix is under way.

Two measures, each of many runs, one release at a time on an idle operator. Boundary: all moments are those in which a watch of
this program saw the object, or a shell that becomes helm noted its start; nothing is polled, no timestamp of a whole second is
used.

Bad image: a release that works gets an image that does not exist. The operator's rule is to end helm once an image still cannot
be pulled after spec.failFastGrace. That time counts from the container's status, which the kubelet writes together with its
first event, `Failed` (ErrImagePull). So that event is where the clock starts; `BackOff` comes about a second later.

Fix: while a pod that never starts is waited for, the spec is corrected. The clock stops when the next helm is started, which
is after the one that waited has been ended.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from benchmark import waves
from benchmark.api import MERGE_PATCH, Api, charts_path
from benchmark.independence import NEVER
from benchmark.results import environment
from benchmark.single import started_at
from benchmark.watching import TooSlowError, follow, ready_at
from benchmark.world import World, fresh, say

BAD_IMAGE_GOAL = 5.0
FIX_GOAL = 0.5
# The kubelet's first event, and the one that it writes when it will try again later.
FAILED, BACK_OFF = "Failed", "BackOff"
_BAD_IMAGE = {"podAnnotations": {"devcluster.managedchart.dev/fail": "image"}, "image": {"tag": "does-not-exist"}}
# Ten times of what a step takes on two cores.
_STEP_SECONDS = 60.0
# A fix seldom comes within the second in which the wait begins, and by then the operator watches the namespace, which it has to
# end too.
_WAITING_SECONDS = 1.0


def run(*, runs: int) -> dict[str, Any]:
    """Measure both, one after another; return the document."""
    with fresh() as world:
        where = environment(world.helm)
        program, stamps = world.stamping_helm()
        namespace = world.namespace("failures")
        with world.operator("failures", helm=program):
            # The first install pays for what is loaded once.
            waves.install(world.api, namespace, ["first"])
            say(f"bad image, {runs} times")
            bad = [_bad_image(world.api, namespace, f"bad-{number}") for number in range(runs)]
            say(f"fix during the wait, {runs} times")
            fixes = []
            for number in range(runs):
                pushed = _fix(world, namespace, f"fix-{number}")
                fixes.append(started_at(stamps.read_text(), f"fix-{number}") - pushed)
    return {
        "runs": runs,
        "bad_image_seconds": summary([named - events[FAILED] for _, events, named in bad]),
        "bad_image_after_back_off_seconds": summary([named - events[BACK_OFF] for _, events, named in bad]),
        "bad_image_after_push_seconds": summary([named - pushed for pushed, _, named in bad]),
        "fix_to_helm_seconds": summary(fixes),
        "goals": {"bad_image_seconds": BAD_IMAGE_GOAL, "fix_to_helm_seconds": FIX_GOAL},
        "environment": where,
    }


def summary(seconds: list[float]) -> dict[str, float]:
    """Return the median and the worst."""
    return {"p50": round(median(seconds), 3), "max": round(max(seconds), 3)}


def table(document: dict[str, Any]) -> str:
    """Return the document as text."""
    goals = document["goals"]
    rows = (
        ("bad image, from the kubelet's first event (Failed: ErrImagePull)", "bad_image_seconds"),
        ("           from its second one (BackOff), a second later", "bad_image_after_back_off_seconds"),
        ("           from the push of the spec", "bad_image_after_push_seconds"),
        ("fix during the wait, from the push to the start of the new helm", "fix_to_helm_seconds"),
    )
    lines = [f"{document['runs']} runs each; seconds", "", f"{'':66} {'p50':>7} {'max':>7} {'goal':>7}"]
    for text, name in rows:
        goal = f"{goals[name]:7.1f}" if name in goals else f"{'':7}"
        lines.append(f"{text:66} {document[name]['p50']:7.3f} {document[name]['max']:7.3f} {goal}")
    lines += [
        "",
        "Named: lastFailure.reason is ImagePull. The first event counts: with it the kubelet writes the status that the",
        "operator judges, and 3 s of what follows are spec.failFastGrace, for a registry that answers at the second try.",
    ]
    return "\n".join(lines)


def _bad_image(api: Api, namespace: str, name: str) -> tuple[float, dict[str, float], float]:
    """Break a release; return when the spec was pushed, when the kubelet's events came, and when the cause was named."""
    waves.install(api, namespace, [name], values={"replicaCount": 1}, retry={"limit": 0})
    charts, events = api.version_of(charts_path(namespace)), api.version_of(_events(namespace))
    with ThreadPoolExecutor(2) as pool:
        told = pool.submit(_kubelet_events, api, namespace, name, events)
        named = pool.submit(_named, api, namespace, name, charts)
        pushed = time.monotonic()
        _push(api, namespace, name, _BAD_IMAGE)
        found = (pushed, told.result(), named.result())
    waves.delete(api, namespace, [name])
    return found


def _kubelet_events(api: Api, namespace: str, release: str, version: str) -> dict[str, float]:
    """Return when the first event of each of the two reasons about a pod of the release came. Raises TooSlowError."""
    seen: dict[str, float] = {}
    for event in api.watch(_events(namespace), version=version, seconds=_STEP_SECONDS):
        body, now = event["object"], time.monotonic()
        about = body["involvedObject"]
        if about["kind"] == "Pod" and about["name"].startswith(f"{release}-") and body["reason"] in (FAILED, BACK_OFF):
            seen.setdefault(body["reason"], now)
            if len(seen) == 2:
                return seen
    raise TooSlowError(f"of the events about {release} only {list(seen)} came within {_STEP_SECONDS:.0f} s")


def _named(api: Api, namespace: str, name: str, version: str) -> float:
    """Return when lastFailure named the image. Raises TooSlowError."""
    last: dict[str, Any] = {}
    for event in api.watch(charts_path(namespace), version=version, seconds=_STEP_SECONDS):
        body, now = event["object"], time.monotonic()
        if body["metadata"]["name"] == name:
            last = (body.get("status") or {}).get("lastFailure") or {}
            if last.get("reason") == "ImagePull":
                return now
    raise TooSlowError(f"{name} does not name its image after {_STEP_SECONDS:.0f} s; lastFailure is {last}")


def _fix(world: World, namespace: str, name: str) -> float:
    """Correct a spec during the wait, and follow it to its end; return when it was pushed, in seconds of the epoch."""
    api = world.api
    charts, pods = api.version_of(charts_path(namespace)), api.version_of(_pods(namespace))
    api.request("POST", charts_path(namespace), waves.body_of(name, values=NEVER))
    _until_pod(api, namespace, name, pods)
    time.sleep(_WAITING_SECONDS)  # the correction is to come in the middle of the wait, which nothing announces
    pushed = time.time()
    _push(api, namespace, name, {"podAnnotations": None})
    follow(api, namespace, [name], version=charts, reached=ready_at(2), seconds=_STEP_SECONDS)
    waves.delete(api, namespace, [name])
    return pushed


def _until_pod(api: Api, namespace: str, release: str, version: str) -> None:
    """Return when the kubelet has taken a pod of the release, so that nothing is left but to wait for it."""
    for event in api.watch(_pods(namespace), version=version, seconds=_STEP_SECONDS):
        body = event["object"]
        if body["metadata"]["name"].startswith(f"{release}-") and (body.get("status") or {}).get("containerStatuses"):
            return
    raise TooSlowError(f"no pod of {release} came within {_STEP_SECONDS:.0f} s")


def _push(api: Api, namespace: str, name: str, values: dict[str, Any]) -> None:
    api.request("PATCH", charts_path(namespace, name), {"spec": {"values": values}}, content_type=MERGE_PATCH)


def _events(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/events"


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"
