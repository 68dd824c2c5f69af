"""`make demo`: bring up what is missing, apply examples/, wait, and show the outcome. A second call reuses what runs.

Needs .venv, unlike `demo.py stop`: the operator runs from it, and the examples are YAML.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
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

# What a person reads first: the reason, what happened, what to do, and where. Evidence follows. The API server sorts by name.
FIRST = ("reason", "message", "hint", "rootCause", "phase", "revision", "time")
_PLUGINS = "managedchart.lifecycles"


def start() -> int:
    """Bring everything up, idempotently, and show the outcome."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    with alone() as folder:
        say("cluster: real etcd, API server, controllers and scheduler; kwok simulates the node")
        cluster, is_new = clusters.bring_up(folder)
        say(
            f"cluster {clusters.NAME} {'is up' if is_new else 'runs already'}; applying the CRD and deploy/'s ServiceAccount"
        )
        cluster.install()
        cluster.play_the_cloud()
        served = servers.serve(folder, cluster.programs)
        say(f"chart repository {served.repository}, OCI registry {served.registry}" + _new(served.started))
        port, is_new = background.ensure("operator", lambda port: _operator(cluster, port), folder=folder)
        say(f"operator, with the permissions of deploy/: port {port}" + _new(["operator"] if is_new else []))
        local = examples.Local(CHARTS, served.repository, served.registry)
        documents = [examples.load(file, local) for file in examples.files()]
        cluster.kubectl("apply", f"--namespace={NAMESPACE}", "--filename=-", stdin=yaml.safe_dump_all(documents))
        charts = [item["metadata"]["name"] for item in documents if examples.is_chart(item)]
        others = len(documents) - len(charts)
        say(f"applied {len(charts)} ManagedCharts and {others} LifecycleProfile from examples/; following them:")
        found = watch.until_settled(cluster, charts, started=started)
        return _show(cluster, found, port)


def _operator(cluster: Cluster, port: int) -> Program:
    """The operator as a process next to the cluster; a change of its code, or of a plug-in's, restarts it.

    It is started with MANAGEDCHART_PLUGIN_DIR, if that is set: the folder that a ConfigMap is in a cluster.
    """
    code = hashlib.sha256()
    for file in [*sorted((ROOT / "operator").rglob("*.py")), *plugin_files()]:
        code.update(file.read_bytes())
    return Program(
        [sys.executable, "-P", "-m", "managedchart_operator", "run"],
        "/readyz",
        environment={
            "KUBECONFIG": str(cluster.operator_kubeconfig),
            "MANAGEDCHART_HELM_BINARY": str(cluster.programs / "helm"),
            "MANAGEDCHART_CACHE_DIR": str(cluster.folder / "cache"),
            "MANAGEDCHART_CHART_ROOTS": f'["{CHARTS}"]',
            # The demo's own repository and registry are on this machine.
            "MANAGEDCHART_CHART_ADDRESSES": '["127.0.0.1"]',
            "MANAGEDCHART_HTTP_HOST": "127.0.0.1",
            "MANAGEDCHART_HTTP_PORT": str(port),
            "MANAGEDCHART_LOG_FORMAT": "text",
        },
        inputs=code.hexdigest() + cluster.operator_kubeconfig.read_text(),
    )


def plugin_files() -> list[Path]:
    """The Python files of the packages that bring lifecycles, as they are installed in .venv, and of the mounted folder.

    None is imported.
    """
    mounted = os.environ.get("MANAGEDCHART_PLUGIN_DIR")
    modules = set(Path(mounted).glob("*.py")) if mounted else set()
    return sorted({file for found in distributions() for file in _files_of(found)} | modules)


def _files_of(package: Distribution) -> Iterator[Path]:
    for point in package.entry_points.select(group=_PLUGINS):
        # An editable install lists only a link, so the module itself is asked where it is.
        found = find_spec(point.module.partition(".")[0])
        for folder in (found.submodule_search_locations or ()) if found else ():
            yield from Path(folder).rglob("*.py")
        if found and found.has_location and found.origin:
            yield Path(found.origin)


def ordered(failure: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return `lastFailure` in the order in which a person reads it; without its evidence if not `whole`."""
    keys = dict.fromkeys((*FIRST, *failure) if whole else FIRST)
    return {key: failure[key] for key in keys if key in failure}


def actions(chart: dict[str, Any]) -> list[str]:
    """Return a line for each action of a ManagedChart: its phase, its name, and what it has done."""
    return [
        f"{phase['name']}  {action['name']}: {action['state']}, {action.get('message', '')}"
        for phase in chart["status"].get("phases") or ()
        for action in phase.get("actions") or ()
    ]


def _show(cluster: Cluster, found: dict[str, dict[str, Any]], port: int) -> int:
    failed = sorted(name for name, chart in found.items() if not watch.is_ready(chart))
    print("\n$ kubectl get managedcharts -A -o wide")
    print(cluster.kubectl("get", "managedcharts", "--all-namespaces", "--output=wide"), end="")
    if lines := actions(found.get(examples.WITH_ACTION, {"status": {}})):
        print(f"\n$ kubectl get managedchart {examples.WITH_ACTION} -n {NAMESPACE} -o yaml   # status.phases[].actions")
        print("\n".join(lines))
    for name in failed:
        on_purpose = " (it fails on purpose)" if name in examples.FAIL_ON_PURPOSE else ""
        print(f"\n$ kubectl get managedchart {name} -n {NAMESPACE} -o yaml   # status.lastFailure{on_purpose}")
        failure = found[name]["status"].get("lastFailure") or {}
        # Events and logs of all that fail on purpose would fill several screens.
        shown = ordered(failure, whole=name not in examples.FAIL_ON_PURPOSE[1:])
        print(yaml.safe_dump({"lastFailure": shown}, sort_keys=False, allow_unicode=True, width=110), end="")
    path = os.environ.get("PATH", "").split(os.pathsep)
    print("\nLook further:")
    print(f"  export KUBECONFIG={cluster.kubeconfig}")
    if str(cluster.programs) not in path[:1]:
        print(f'  export PATH="{cluster.programs}:$PATH"   # kubectl and helm of fitting versions')
    print(f"  kubectl get managedcharts -n {NAMESPACE} --watch")
    print(f"  kubectl describe managedchart hello-from-path -n {NAMESPACE}")
    example = f"sed 's| /charts/| {CHARTS}/|' {examples.FOLDER / '13-prerequisite.yaml'}"
    print(f"  {example} | kubectl apply -n {NAMESPACE} -f -   # after you have changed the file")
    print(f"  kubectl edit managedchart hello-from-path -n {NAMESPACE}   # change a value, and see it deployed")
    print(f"  helm history hello-from-path -n {NAMESPACE}")
    print(f"  tail -f {cluster.folder / 'operator.log'}")
    print(f"  curl -s http://127.0.0.1:{port}/metrics | grep ^managedchart_")
    print("Stop everything:\n  make demo-stop")
    unexpected = [name for name in failed if name not in examples.FAIL_ON_PURPOSE]
    if unexpected:
        raise DemoError(f"these ManagedCharts should be Ready and are not: {', '.join(unexpected)}")
    return 0


def _new(started: list[str]) -> str:
    return " (started)" if started else " (runs already)"
