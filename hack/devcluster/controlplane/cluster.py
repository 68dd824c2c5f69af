"""Creating, finding, restarting and deleting clusters.

A cluster is a folder with the pid files of its processes. The folder gets its name by one rename, so that of two creators one
gets the error that it exists. A creation that fails leaves neither process nor folder.
"""

import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from . import api, files, folders, kubeconfig, processes
from .components import ENVIRONMENT, Layout, Ports, commands, write_configuration
from .errors import ClusterStateError, ComponentError, PortTakenError
from .processes import Process

READY_SECONDS = 120.0
"""Deadline of a creation: it takes 3 s on an idle machine, 30 times that on an overloaded one."""

POLL_SECONDS = 0.03
"""Between two checks of a starting component: short compared with its start of a second, long compared with a check."""

PORT_ATTEMPTS = 3
"""A clash of random ports is rare; three in a row mean that something else is wrong."""

_CREATOR = "create"


def names() -> list[str]:
    """The clusters of which anything runs, or which are being created."""
    return [folder.name for folder in _folders() if any(process.alive for process in processes.recorded(folder))]


def create(name: str, *, kubeconfig_file: Path | None, programs: Path, seconds: float = 0.0) -> None:
    """Start a control plane with one node and wait until it is usable; `seconds` may extend the usual deadline.

    Raises ClusterStateError when there is one of that name, ComponentError when a component dies or does not get ready.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        layout = _claim(name, programs)
        try:
            with _torn_down_on_failure(layout):
                _start(layout, time.monotonic() + max(seconds, READY_SECONDS))
                kubeconfig.merge(layout, kubeconfig_file or kubeconfig.default_file())
                (layout.folder / f"{_CREATOR}.pid").unlink()
        except PortTakenError:
            if attempt == PORT_ATTEMPTS:
                raise
        else:
            return


def delete(name: str, *, kubeconfig_file: Path | None) -> bool:
    """End every process of the cluster and remove its folder and its entries in the kubeconfig; False if there is none."""
    folder = folders.cluster(name)
    if not folder.exists():
        return False
    try:
        layout = Layout.load(name)
    except ClusterStateError:
        layout = None  # its processes are ended anyway
    if layout is not None and (layout.programs / "kubectl").exists():
        kubeconfig.remove(layout, kubeconfig_file or kubeconfig.default_file())
    _tear_down(folder)
    return True


def load(name: str) -> Layout:
    """The layout of a running cluster; raises ClusterStateError if no cluster has that name, or another version made it."""
    if name not in names():
        raise ClusterStateError(f'There is no cluster "{name}".')
    return Layout.load(name)


def check(name: str) -> list[Process]:
    """The processes of a cluster, all alive; raises ComponentError with the end of the log of one that has died since."""
    layout = load(name)
    found = processes.recorded(layout.folder)
    for process in found:
        if not process.alive:
            raise _death(layout, process.name)
    return found


def restart_apiserver(name: str) -> None:
    """Kill the API server without warning and start it again on the same port; return when it is ready.

    kube-controller-manager is started anew as well. After a few restarts within minutes the watches of version 1.37 begin again
    up to a minute late, and until then its controllers refuse to act ("read version … is not as new as written version").
    """
    layout, command = load(name), commands(load(name))
    restarted = ("kube-apiserver", "kube-controller-manager")
    for process in processes.recorded(layout.folder):
        if process.name in restarted:
            process.kill()
    running = [processes.start("kube-apiserver", command["kube-apiserver"], layout.folder, ENVIRONMENT)]
    deadline = time.monotonic() + READY_SECONDS
    _wait(layout, running, deadline, "/readyz", lambda: _ready(layout))
    running.append(processes.start(restarted[1], command[restarted[1]], layout.folder, ENVIRONMENT))
    healthy = partial(api.healthy, layout, layout.ports.controller_manager, "/healthz")
    _wait(layout, running, deadline, restarted[1], healthy)


# --- creating --------------------------------------------------------------------------------------------------------


def _claim(name: str, programs: Path) -> Layout:
    folder = folders.cluster(name)
    if folder.exists() and not any(process.alive for process in processes.recorded(folder)):
        # The machine was restarted, or a creation was killed; none of it can be reused.
        print(f'devcluster: removing the remaining files of the dead cluster "{name}"', file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
    folders.state().mkdir(parents=True, exist_ok=True)
    prepared = Path(tempfile.mkdtemp(prefix=".new-", dir=folders.state()))
    try:
        audit = os.environ.get("DEVCLUSTER_AUDIT_LOG", "")
        layout = Layout(
            name=name,
            folder=folder,
            programs=programs,
            ports=Ports(*processes.free_ports(6)),
            token=secrets.token_urlsafe(24),
            audit_log=str(Path(audit).absolute()) if audit else "",
        )
        processes.record(_CREATOR, os.getpid(), prepared)
        layout.save(prepared)
        try:
            prepared.rename(folder)
        except OSError:
            raise ClusterStateError(
                f'A cluster with the name "{name}" exists already; "devcluster delete cluster --name {name}" removes it.'
            ) from None
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    return layout


def _start(layout: Layout, deadline: float) -> None:
    write_configuration(layout)
    command = commands(layout)
    running: list[Process] = []

    def start(*components: str) -> None:
        running.extend(processes.start(name, command[name], layout.folder, ENVIRONMENT) for name in components)

    def wait(what: str, condition: Callable[[], bool]) -> None:
        _wait(layout, running, deadline, what, condition)

    ports = layout.ports
    start("etcd")
    # Not earlier: after a port clash the API server would write into the etcd of another cluster.
    wait("etcd", lambda: api.healthy(layout, ports.etcd, "/health", tls=False))
    start("kube-apiserver")
    wait("kube-apiserver", lambda: _ready(layout))
    files.replace(layout.kubeconfig, kubeconfig.render(layout))
    start("kube-controller-manager", "kube-scheduler", "kwok")
    wait("the node", lambda: _created(layout, "/api/v1/nodes", _node(layout)))
    wait("the StorageClass", lambda: _created(layout, "/apis/storage.k8s.io/v1/storageclasses", _STORAGE_CLASS))
    wait("kube-controller-manager", lambda: api.healthy(layout, ports.controller_manager, "/healthz"))
    wait("kube-scheduler", lambda: api.healthy(layout, ports.scheduler, "/healthz"))
    wait("the default ServiceAccount", lambda: _exists(layout, "/api/v1/namespaces/default/serviceaccounts/default"))
    wait(f"the node {layout.node} to be Ready", lambda: _node_ready(layout))


def _wait(layout: Layout, running: list[Process], deadline: float, what: str, condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; raise as soon as a process is dead or the deadline has passed."""
    last: object = "no answer"
    while True:
        try:
            holds = condition()
        except api.UNREACHABLE as error:
            holds, last = False, error
        for process in running:
            # Checked after the condition: another process on the port may have answered for a dead component.
            if not process.alive:
                raise _death(layout, process.name)
        if holds:
            return
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {p.name}\n{processes.end_of_log(layout.folder, p.name)}" for p in running[-1:])
            raise ComponentError(f'Cluster "{layout.name}": timed out waiting for {what} ({last}).\n{logs}')
        time.sleep(POLL_SECONDS)  # it may not listen yet, so there is nothing to wait on


def _death(layout: Layout, component: str) -> ComponentError:
    log = processes.end_of_log(layout.folder, component)
    if log == processes.NOTHING:
        log += f"\nA program that ends without any output may be damaged. To build it again: rm {layout.programs / component}"
    kind = PortTakenError if re.search(r"address already in use", log) else ComponentError
    return kind(f'{component} of cluster "{layout.name}" died. The end of its log:\n{log}')


@contextmanager
def _torn_down_on_failure(layout: Layout) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _tear_down(layout.folder)
        raise


def _tear_down(folder: Path) -> None:
    for process in processes.recorded(folder):
        if process.name != _CREATOR:
            process.kill()
    # A component may have created a file while it was killed; it has ended now, so the second try is final.
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)


def _folders() -> list[Path]:
    if not folders.state().exists():
        return []
    return sorted(entry for entry in folders.state().iterdir() if entry.is_dir() and not entry.name.startswith("."))


# --- what ready means ------------------------------------------------------------------------------------------------


def _ready(layout: Layout) -> bool:
    return api.healthy(layout, layout.ports.apiserver, "/readyz")


def _exists(layout: Layout, path: str) -> bool:
    return api.request(layout, "GET", path)[0] == 200


def _created(layout: Layout, path: str, body: object) -> bool:
    return api.request(layout, "POST", path, body)[0] in {201, 409}


_STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "devcluster.managedchart.dev/nothing",
}


def _node(layout: Layout) -> dict[str, object]:
    # Finite, so that a pod can ask for too much; large, so that a benchmark with a thousand pods cannot.
    size = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "2000"}
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": layout.node,
        "node-role.kubernetes.io/control-plane": "",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": layout.node, "labels": labels},
        "status": {"capacity": size, "allocatable": size},
    }


def _node_ready(layout: Layout) -> bool:
    status, node = api.request(layout, "GET", f"/api/v1/nodes/{layout.node}")
    if status != 200:
        return False
    conditions = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
