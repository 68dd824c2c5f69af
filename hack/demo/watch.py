"""Follows the ManagedCharts of a namespace, prints each step, and returns when nothing more happens automatically.

Reads what `kubectl --watch` prints; changes nothing. The rule for "settled" is in docs/status.md, conditions.
"""

import codecs
import json
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

from background import DemoError
from cluster import NAMESPACE, Cluster

# The slowest example has a timeout of 60 s; a machine that is busy with other clusters takes many times what an idle one does.
SETTLED_SECONDS = 240.0
_CHUNK = 65536


def until_settled(cluster: Cluster, names: Iterable[str], *, started: float) -> dict[str, dict[str, Any]]:
    """Watch until each of these ManagedCharts has settled, and return them by name. Raises DemoError."""
    waiting = set(names)
    found: dict[str, dict[str, Any]] = {}
    printed: dict[str, str] = {}
    arguments = (
        "get",
        "managedcharts",
        f"--namespace={NAMESPACE}",
        "--watch",
        "--output-watch-events",
        "--output=json",
    )
    with subprocess.Popen(
        cluster.command(*arguments), env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as kubectl:
        assert kubectl.stdout is not None
        assert kubectl.stderr is not None
        timer = threading.Timer(SETTLED_SECONDS, kubectl.kill)
        timer.start()
        try:
            for event in _documents(kubectl.stdout):
                chart = event["object"]
                name = chart["metadata"]["name"]
                if name not in waiting:
                    continue
                found[name] = chart
                if (step := _step(chart)) and printed.get(name) != step:
                    printed[name] = step
                    print(f"  {time.monotonic() - started:5.1f} s  {name:26} {step}", flush=True)
                if is_settled(chart):
                    waiting.discard(name)
                if not waiting:
                    return found
        finally:
            timer.cancel()
            kubectl.kill()
        raise DemoError(
            f"not settled: {', '.join(sorted(waiting))}; the watch has ended. {kubectl.stderr.read().decode().strip()}"
        )


def is_settled(chart: dict[str, Any]) -> bool:
    """Whether the operator is done with a ManagedChart for now: it is Ready, or failed and waits."""
    conditions = _conditions(chart)
    ready = conditions.get("Ready", {})
    if ready.get("observedGeneration") != chart["metadata"]["generation"] or ready.get("status") == "Unknown":
        return False
    if ready["status"] == "True":
        return "Reconciling" not in conditions
    return "Stalled" in conditions or conditions.get("Reconciling", {}).get("reason") == "RetryScheduled"


def is_ready(chart: dict[str, Any]) -> bool:
    """Whether a settled ManagedChart matches its spec."""
    return bool(_conditions(chart).get("Ready", {}).get("status") == "True")


def _conditions(chart: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in (chart.get("status") or {}).get("conditions") or []}


def _step(chart: dict[str, Any]) -> str | None:
    """The line to print for a ManagedChart, or None."""
    phase: str | None = (chart.get("status") or {}).get("phase")
    if is_settled(chart):
        return f"{phase}: {_conditions(chart)['Ready']['message']}"
    return None if phase in (None, "Pending") else phase


def _documents(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Take JSON documents off a stream as they arrive."""
    decoder, text = json.JSONDecoder(), ""
    incremental = codecs.getincrementaldecoder("utf-8")()
    while chunk := stream.read1(_CHUNK):  # type: ignore[attr-defined]
        text += incremental.decode(chunk)
        while text := text.lstrip():
            try:
                document, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                break  # the rest of it is still to come
            text = text[end:]
            yield document
