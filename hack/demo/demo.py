#!/usr/bin/env python3
"""`make demo` and `make demo-stop`: the operator at work on a real control plane, without Docker.

    demo.py start    bring up what is missing, apply examples/, wait, show the outcome; again: reuse what runs
    demo.py stop     end everything, and remove the folder

Everything lives in ${XDG_STATE_HOME:-~/.local/state}/managedchart-demo and in the devcluster `managedchart-demo`.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import background
import cluster as clusters
import examples
import servers
import watch
import yaml
from background import DemoError, Program
from cluster import NAMESPACE, Cluster
from places import CHARTS, ROOT, alone

# What a person wants to read first; the API server sorts by name.
_FIRST = ("phase", "reason", "message", "rootCause", "hint", "revision", "time")


def main() -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Show the operator at work on a development cluster.")
    parser.add_argument("command", choices=["start", "stop"])
    try:
        return start() if parser.parse_args().command == "start" else stop()
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `make demo` goes on from here, `make demo-stop` cleans up.", file=sys.stderr)
        return 130


def start() -> int:
    """Bring everything up, idempotently, and show the outcome."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    with alone() as folder:
        say("cluster: real etcd, API server, controllers and scheduler; kwok plays the node")
        cluster, is_new = clusters.bring_up(folder)
        say(f"cluster {clusters.NAME} {'is up' if is_new else 'runs already'}; applying the CRD and deploy/'s identity")
        cluster.install()
        cluster.play_the_cloud()
        served = servers.serve(folder, cluster.programs)
        say(f"chart repository {served.repository}, OCI registry {served.registry}" + _new(served.started))
        port, is_new = background.ensure("operator", lambda port: _operator(cluster, port), folder=folder)
        say(f"operator, with the identity that deploy/ gives it: port {port}" + _new(["operator"] if is_new else []))
        local = examples.Local(CHARTS, served.repository, served.registry)
        documents = [examples.load(file, local) for file in examples.files()]
        cluster.kubectl("apply", f"--namespace={NAMESPACE}", "--filename=-", stdin=yaml.safe_dump_all(documents))
        say(f"applied {len(documents)} ManagedCharts from examples/; following them:")
        found = watch.until_settled(cluster, [item["metadata"]["name"] for item in documents], started=started)
        return _show(cluster, found, port)


def stop() -> int:
    """End every process and remove everything that `start` has made."""
    with alone() as folder:
        for name in ("operator", "repository", "registry"):
            if process := background.find(name, folder):
                print(f"ending the {name}", flush=True)
                background.stop(process)
        _end_orphans(folder)
        clusters.take_down(folder)
        shutil.rmtree(folder)
    print("Nothing of the demo is left. (The programs that were built stay in the cache for the next time.)")
    return 0


def _operator(cluster: Cluster, port: int) -> Program:
    """The operator as a process beside the cluster; a change of its code makes it another one."""
    code = hashlib.sha256()
    for file in sorted((ROOT / "operator").rglob("*.py")):
        code.update(file.read_bytes())
    return Program(
        [sys.executable, "-P", "-m", "managedchart_operator", "run"],
        "/readyz",
        environment={
            "KUBECONFIG": str(cluster.operator_kubeconfig),
            "MANAGEDCHART_HELM_BINARY": str(cluster.programs / "helm"),
            "MANAGEDCHART_CACHE_DIR": str(cluster.folder / "cache"),
            "MANAGEDCHART_CHART_ROOTS": f'["{CHARTS}"]',
            "MANAGEDCHART_HTTP_HOST": "127.0.0.1",
            "MANAGEDCHART_HTTP_PORT": str(port),
            "MANAGEDCHART_LOG_FORMAT": "text",
        },
        inputs=code.hexdigest() + cluster.operator_kubeconfig.read_text(),
    )


def _end_orphans(folder: Path) -> None:
    """End helm processes that outlived a killed operator; each runs in a session of its own."""
    from managedchart_operator.helm.runner import end_orphans  # here, so that all else works without the package

    asyncio.run(end_orphans(str((folder / "cache").resolve())))


def _show(cluster: Cluster, found: dict[str, dict[str, Any]], port: int) -> int:
    failed = sorted(name for name, chart in found.items() if not watch.is_ready(chart))
    print("\n$ kubectl get managedcharts -A -o wide")
    print(cluster.kubectl("get", "managedcharts", "--all-namespaces", "--output=wide"), end="")
    for name in failed:
        on_purpose = " (it fails on purpose)" if name in examples.FAIL_ON_PURPOSE else ""
        print(f"\n$ kubectl get managedchart {name} -n {NAMESPACE} -o yaml   # status.lastFailure{on_purpose}")
        failure = found[name]["status"].get("lastFailure") or {}
        # Events and logs of all that fail on purpose would fill several screens.
        keys = _FIRST if name in examples.FAIL_ON_PURPOSE[1:] else (*_FIRST, *failure)
        ordered = {key: failure[key] for key in keys if key in failure}
        print(yaml.safe_dump({"lastFailure": ordered}, sort_keys=False, allow_unicode=True, width=110), end="")
    path = os.environ.get("PATH", "").split(os.pathsep)
    print("\nLook further:")
    print(f"  export KUBECONFIG={cluster.kubeconfig}")
    if str(cluster.programs) not in path and not shutil.which("kubectl"):
        print(f'  export PATH="{cluster.programs}:$PATH"        # kubectl and helm')
    print(f"  kubectl get managedcharts -n {NAMESPACE} --watch")
    print(f"  kubectl describe managedchart hello-from-path -n {NAMESPACE}")
    print(f"  kubectl edit managedchart hello-from-path -n {NAMESPACE}   # change a value, and see it deployed")
    print(f"  tail -f {cluster.folder / 'operator.log'}")
    print(f"  curl -s http://127.0.0.1:{port}/metrics | grep ^managedchart_")
    print("Stop everything:\n  make demo-stop")
    unexpected = [name for name in failed if name not in examples.FAIL_ON_PURPOSE]
    if unexpected:
        raise DemoError(f"not Ready, against all expectations: {', '.join(unexpected)}")
    return 0


def _new(started: list[str]) -> str:
    return " (started)" if started else " (runs already)"


if __name__ == "__main__":
    sys.exit(main())
