"""Waves: one change to many ManagedCharts at once, and how long it takes until the last one has been carried out.

Boundary: what a GitOps tool would do: creates, patches and deletes through the API, one after another on one connection,
while a watch tells what has come of them. kubectl is left out: its own client-side work is nobody's to compare.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.api import MERGE_PATCH, Api, charts_path
from benchmark.watching import follow, gone, ready_at
from benchmark.world import CHART

# Long enough for a wave on a machine ten times slower than the one that the goals were set for.
WAVE_SECONDS = 1200.0


def body_of(name: str, **spec: Any) -> dict[str, Any]:
    """Return a ManagedChart of the benchmark's chart."""
    return {
        "apiVersion": "managedchart.dev/v1alpha1",
        "kind": "ManagedChart",
        "metadata": {"name": name},
        "spec": {"chart": {"path": str(CHART)}, "timeout": "180s", **spec},
    }


def install(api: Api, namespace: str, names: Sequence[str], **spec: Any) -> float:
    """Create the resources; return after how many seconds the last is Ready."""
    return _wave(
        api,
        namespace,
        names,
        lambda name: api.request("POST", charts_path(namespace), body_of(name, **spec)),
        reached=ready_at(1),
    )


def change(api: Api, namespace: str, names: Sequence[str], *, generation: int, **spec: Any) -> float:
    """Patch the specs, which leads to `generation`; return after how many seconds the last is Ready at it."""
    return _wave(
        api,
        namespace,
        names,
        lambda name: api.request("PATCH", charts_path(namespace, name), {"spec": spec}, content_type=MERGE_PATCH),
        reached=ready_at(generation),
    )


def delete(api: Api, namespace: str, names: Sequence[str]) -> float:
    """Delete the resources; return after how many seconds the last is gone, which means: its release is."""
    return _wave(api, namespace, names, lambda name: api.request("DELETE", charts_path(namespace, name)), reached=gone)


def _wave(
    api: Api,
    namespace: str,
    names: Sequence[str],
    act: Callable[[str], Any],
    *,
    reached: Callable[[dict[str, Any]], bool],
) -> float:
    version = api.version_of(charts_path(namespace))
    errors: list[Exception] = []

    def run() -> None:
        for name in names:
            try:
                act(name)
            except Exception as error:  # noqa: BLE001 -- carried to the thread that waits
                errors.append(error)
                return

    actor = threading.Thread(target=run, name="wave", daemon=True)
    started = time.monotonic()
    actor.start()
    try:
        follow(api, namespace, names, version=version, reached=reached, seconds=WAVE_SECONDS)
    finally:
        if errors:
            raise errors[0]
    seconds = time.monotonic() - started
    actor.join()
    return seconds
