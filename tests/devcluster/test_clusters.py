"""Clusters come and go by kind's command line: side by side, without remains, and with a reason when they do not."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from devcluster.driver import DEVCLUSTER, Cluster, Devcluster, eventually
from peers import program

COMPONENTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}


def runs(pid: int) -> bool:
    """Whether a process is there and not just waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def record(pid: int, folder: Path) -> None:
    """Write down a process as a component of the cluster in this folder."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    birth = f"{fields[19]}@{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    (folder / "etcd.pid").write_text(json.dumps({"pid": pid, "birth": birth}))


@pytest.fixture
def alone(tmp_path: Path) -> Devcluster:
    """The command line with a state folder that no other test uses."""
    return Devcluster(tmp_path / "state")


def with_broken(tmp_path: Path, component: str, script: str) -> Devcluster:
    """The command line with programs of which one is replaced by a shell script."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for path in program("kwok").parent.iterdir():
        (programs / path.name).symlink_to(path)
    (programs / component).unlink()
    (programs / component).write_text(f"#!/bin/sh\n{script}\n")
    (programs / component).chmod(0o755)
    return Devcluster(tmp_path / "state", {"DEVCLUSTER_BIN": str(programs)})


def test_no_clusters_are_told_in_kinds_words(alone: Devcluster) -> None:
    listed = alone("get", "clusters")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "No kind clusters found.\n")


def test_a_running_cluster_is_listed_and_answers(devcluster: Devcluster, cluster: Cluster) -> None:
    assert cluster.name in devcluster("get", "clusters").stdout.splitlines()
    assert set(cluster.pids()) == COMPONENTS
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"
    (node,) = cluster.get("nodes")["items"]
    assert node["metadata"]["name"] == "shared-control-plane"
    assert "default" in cluster.kubectl("get", "serviceaccounts", "--namespace=default", "--output=name")


def test_everything_listens_on_the_loopback_address_only(cluster: Cluster) -> None:
    listening = set()
    for pid in cluster.pids().values():
        sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    listening.add(fields[1].partition(":")[0])
    assert listening == {"0100007F"}  # 127.0.0.1, as the kernel writes it


def test_the_printed_kubeconfig_works(devcluster: Devcluster, cluster: Cluster, tmp_path: Path) -> None:
    printed = devcluster("get", "kubeconfig", "--name", cluster.name)
    (tmp_path / "config").write_text(printed.stdout)
    elsewhere = Cluster(cluster.name, tmp_path / "config", cluster.folder)
    assert elsewhere.kubectl("auth", "whoami", "--output=jsonpath={.status.userInfo.username}") == "kubernetes-admin"


def test_the_kubeconfig_of_an_unknown_cluster_is_refused_with_a_sentence(devcluster: Devcluster) -> None:
    refused = devcluster("get", "kubeconfig", "--name", "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == 'ERROR: There is no cluster "nobody".\n'


def test_a_second_cluster_lives_beside_the_first_and_leaves_nothing(devcluster: Devcluster, cluster: Cluster) -> None:
    """Own objects, own context; and deleting one neither touches the other nor leaves a process, folder or context."""
    second = devcluster.create("second")
    assert second.kubectl("config", "current-context").strip() == "kind-second"
    second.kubectl("create", "namespace", "only-in-the-second")
    assert cluster.try_kubectl("get", "namespace", "only-in-the-second").returncode == 1
    assert devcluster("get", "clusters").stdout.splitlines() == ["second", "shared"]
    pids = second.pids()
    assert all(runs(pid) for pid in pids.values())

    devcluster.delete("second")

    assert [name for name, pid in pids.items() if runs(pid)] == []
    assert not second.folder.exists()
    left = devcluster.kubeconfig.read_text()
    assert "kind-second" not in left
    assert "kind-shared" in left
    assert "token: a-users-own" in left
    assert devcluster.kubeconfig.stat().st_mode & 0o077 == 0
    assert devcluster("get", "clusters").stdout.splitlines() == ["shared"]
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"


def test_a_second_create_of_the_same_name_says_so(devcluster: Devcluster, cluster: Cluster) -> None:
    before = cluster.pids()
    again = devcluster("create", "cluster", "--name", cluster.name)
    assert again.returncode == 1
    assert f'ERROR: A cluster with the name "{cluster.name}" exists already' in again.stderr
    assert cluster.pids() == before
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"


def test_deleting_what_is_not_there_succeeds(devcluster: Devcluster) -> None:
    """As with kind: a clean-up may run twice."""
    deleted = devcluster("delete", "cluster", "--name", "nobody")
    assert deleted.returncode == 0
    assert 'There was no cluster "nobody".' in deleted.stderr


@pytest.mark.parametrize("name", ["", "../elsewhere", "Capital", "under_score", "a" * 49])
def test_a_name_that_could_do_harm_is_refused(alone: Devcluster, name: str) -> None:
    refused = alone("create", "cluster", "--name", name)
    assert refused.returncode == 1
    assert "is not a valid cluster name" in refused.stderr


def test_loading_an_image_says_that_there_is_no_need(devcluster: Devcluster) -> None:
    loaded = devcluster("load", "docker-image", "--name", "shared", "some/image:1")
    assert loaded.returncode == 0
    assert "no image is pulled or run" in loaded.stderr


def test_a_component_that_dies_at_its_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = with_broken(tmp_path, "kube-scheduler", "seq 1 30; echo 'panic: no such thing'; exit 3")
    created = broken("create", "cluster", "--name", "broken")
    assert created.returncode == 1
    words = created.stderr.splitlines()
    assert 'ERROR: kube-scheduler of cluster "broken" died. The end of its log:' in words
    assert words[-20:] == [*map(str, range(12, 31)), "panic: no such thing"]
    assert not broken.folder("broken").exists()
    assert broken("get", "clusters").stdout == ""


def test_a_component_that_dies_later_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    scheduler = program("kube-scheduler")
    script = f"{scheduler} $* & trap 'echo FATAL: out of luck; kill -9 $!; exit 7' TERM; wait"
    fragile = with_broken(tmp_path, "kube-scheduler", script)
    cluster = fragile.create("fragile")
    try:
        assert "kube-scheduler runs, pid" in fragile("status", "--name", "fragile").stdout
        os.kill(cluster.pids()["kube-scheduler"], signal.SIGTERM)
        told = eventually(lambda: fragile("status", "--name", "fragile"), lambda answer: answer.returncode)
        assert 'ERROR: kube-scheduler of cluster "fragile" died. The end of its log:' in told.stderr
        assert told.stderr.splitlines()[-1] == "FATAL: out of luck"
    finally:
        fragile.delete("fragile")


def test_a_terminated_creation_takes_its_processes_with_it(tmp_path: Path) -> None:
    """The one that hangs here is the scheduler: by then four others run."""
    stuck = with_broken(tmp_path, "kube-scheduler", "exec sleep 600")
    creation = subprocess.Popen(
        [DEVCLUSTER, "create", "cluster", "--name", "stuck"],
        env=os.environ | {"XDG_STATE_HOME": str(stuck.state), "KUBECONFIG": str(stuck.kubeconfig), **stuck.environment},
        stderr=subprocess.DEVNULL,
    )
    hanging = Cluster("stuck", stuck.kubeconfig, stuck.folder("stuck"))
    pids = eventually(hanging.pids, lambda seen: seen.keys() >= COMPONENTS)
    creation.send_signal(signal.SIGTERM)
    assert creation.wait(timeout=15) == 128 + signal.SIGTERM
    assert [name for name, pid in pids.items() if runs(pid)] == []
    assert not hanging.folder.exists()


def test_what_a_reboot_left_is_replaced_and_a_reused_pid_left_alone(alone: Devcluster) -> None:
    """The folder is there, but nothing of it runs; its pids may be somebody else's by now: here, this test's."""
    folder = alone.folder("phoenix")
    folder.mkdir(parents=True)
    (folder / "etcd.pid").write_text(f'{{"pid": {os.getpid()}, "birth": "1@another-boot"}}')
    assert alone("get", "clusters").stdout == ""
    cluster = alone.create("phoenix")
    assert cluster.pids().keys() == COMPONENTS
    (folder / "etcd-of-old.pid").write_text(f'{{"pid": {os.getpid()}, "birth": "1@another-boot"}}')
    alone.delete("phoenix")
    assert not folder.exists()


@pytest.mark.parametrize("content", [None, "", "{}", '{"ports": {"other": 1}}'])
def test_a_cluster_of_another_version_can_be_deleted(alone: Devcluster, content: str | None) -> None:
    folder = alone.folder("foreign")
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "cluster.json").write_text(content)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        record(process.pid, folder)
        alone.delete("foreign")
        assert process.wait(timeout=5) == -signal.SIGKILL
    assert not folder.exists()


@pytest.mark.parametrize("missing", ["programs", "token", "ports"])
def test_a_cluster_of_another_version_says_how_to_get_rid_of_it(alone: Devcluster, missing: str) -> None:
    """Its state once ended every command but delete in a KeyError."""
    folder = alone.folder("foreign")
    folder.mkdir(parents=True)
    ports = dict.fromkeys(("etcd", "etcd_peer", "apiserver", "controller_manager", "scheduler", "kwok"), 1)
    content: dict[str, object] = {"programs": "/", "ports": ports, "token": "t", "audit_log": ""}
    (folder / "cluster.json").write_text(json.dumps({key: value for key, value in content.items() if key != missing}))
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        record(process.pid, folder)
        for command in (["get", "kubeconfig"], ["status"], ["restart-apiserver"]):
            told = alone(*command, "--name", "foreign")
            assert (told.returncode, told.stdout) == (1, "")
            assert told.stderr == (
                'ERROR: The cluster "foreign" was created by another version of devcluster: "devcluster delete cluster '
                '--name foreign" removes it; then create it again.\n'
            )
        alone.delete("foreign")
        assert process.wait(timeout=5) == -signal.SIGKILL


def test_the_lock_of_the_kubeconfig_keeps_all_others_out_and_leaves_no_file(alone: Devcluster) -> None:
    """Many that add to one file at the same time: nothing is lost, although each removes the lock's file."""
    adding = (
        "import pathlib, sys\n"
        "from controlplane import kubeconfig\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    with kubeconfig._alone():\n"
        "        file.write_text(str(int(file.read_text()) + 1))\n"
    )
    alone.state.mkdir()
    count = alone.state / "count"
    count.write_text("0")
    environment = os.environ | {"XDG_STATE_HOME": str(alone.state), "PYTHONPATH": str(DEVCLUSTER.parent)}
    adders = [subprocess.Popen([sys.executable, "-c", adding, str(count)], env=environment) for _ in range(8)]
    assert [adder.wait(timeout=60) for adder in adders] == [0] * 8
    assert count.read_text() == "800"
    assert list((alone.state / "managedchart-devcluster").iterdir()) == []


def test_a_kill_waits_for_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose first thread has ended still holds its ports: a restart of the API server found its own one taken."""
    monkeypatch.syspath_prepend(str(DEVCLUSTER.parent))
    processes = importlib.import_module("controlplane.processes")
    server = (
        "import ctypes, socket, threading, time\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    process = processes.start("server", [sys.executable, "-c", server], tmp_path)
    stat = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0], lambda state: state == "Z")
    assert process.alive
    process.kill()
    assert not process.alive
    port = int((tmp_path / "server.log").read_text())
    socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_was_taken_in_between_is_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DEVCLUSTER.parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    clusters = importlib.import_module("controlplane.cluster")
    choose = clusters.processes.free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        choices = [[taken.getsockname()[1], *choose(5)], choose(6)]
        monkeypatch.setattr(clusters.processes, "free_ports", lambda _: choices.pop(0))
        clusters.create("clash", kubeconfig_file=tmp_path / "kubeconfig", programs=program("kwok").parent)
        try:
            assert choices == []
            assert clusters.names() == ["clash"]
        finally:
            clusters.delete("clash", kubeconfig_file=tmp_path / "kubeconfig")


def test_the_api_server_comes_back_after_a_kill_on_the_same_port(devcluster: Devcluster, cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.kubectl("create", "namespace", "kept")
    restarted = devcluster("restart-apiserver", "--name", cluster.name)
    assert restarted.returncode == 0, restarted.stderr
    assert not runs(before["kube-apiserver"])
    after = cluster.pids()
    assert {name for name in after if after[name] != before[name]} == {"kube-apiserver", "kube-controller-manager"}
    # The others survived: somebody gives the namespace its ServiceAccount, makes the pod, schedules and plays it.
    cluster.kubectl("--namespace=kept", "create", "deployment", "after", "--image=app:1")
    cluster.kubectl("--namespace=kept", "wait", "--for=condition=Available", "deployment/after", "--timeout=30s")


def test_requests_are_audited_when_asked(cluster: Cluster, audit_log: Path) -> None:
    cluster.kubectl("create", "namespace", "seen-by-the-audit")
    lines = [json.loads(line) for line in audit_log.read_text().splitlines() if "seen-by-the-audit" in line]
    assert any(line["verb"] == "create" and line["level"] == "Metadata" for line in lines)


def test_pytest_kind_drives_it_unmodified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it writes .pytest-kind into the working folder
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    cluster = KindCluster("by-pytest-kind", kind_path=DEVCLUSTER, kubectl_path=program("kubectl"))
    cluster.create()
    try:
        cluster.create()  # finds it and uses it again
        assert "by-pytest-kind-control-plane" in cluster.kubectl("get", "nodes")
        cluster.load_docker_image("some/image:1")
        with cluster.api.session as session:
            assert session.get(f"{cluster.api.url}/readyz", timeout=5).text == "ok"
    finally:
        cluster.delete()
    assert not (tmp_path / "state" / "managedchart-devcluster" / "by-pytest-kind").exists()


def test_creations_at_the_same_time_all_reach_the_users_kubeconfig(alone: Devcluster) -> None:
    with ThreadPoolExecutor() as pool:
        clusters = list(pool.map(alone.create, ("twin-a", "twin-b")))
        answers = pool.map(lambda cluster: cluster.kubectl("get", "--raw=/readyz"), clusters)
        assert list(answers) == ["ok", "ok"]
        list(pool.map(alone.delete, ("twin-a", "twin-b")))
    assert "twin" not in alone.kubeconfig.read_text()
    assert list((alone.state / "managedchart-devcluster").iterdir()) == []
