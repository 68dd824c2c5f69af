"""`make run` says what it will touch, and touches no cluster that nobody meant. kubectl is a script here."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RUN = ROOT / "hack" / "run" / "run.py"
sys.path.append(str(RUN.parent))

from kube_context import Context, RunError, read_context  # noqa: E402 -- after the path to it

KUBECTL = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1 $2" in
"config view") cat "$ANSWERS/config" ;;
"get deployments") cat "$ANSWERS/deployments" ;;
"auth whoami") echo '{"status": {"userInfo": {"username": "jane"}}}' ;;
"get crd/managedcharts.managedchart.dev") echo customresourcedefinition/managedcharts.managedchart.dev ;;
"get managedcharts.managedchart.dev") printf 'managedchart/a\\nmanagedchart/b\\n' ;;
"apply --server-side") echo "no permission" >&2; exit 1 ;;
esac
"""


def config(*, name: str = "prod", server: str = "https://api.example.com", **login: Any) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": login or {"token": "t"}}],
    }


class Machine:
    """A machine whose kubectl answers from files and writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer("config", config())
        self.answer("deployments", {"items": []})
        kubectl = folder / "kubectl"
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{folder}:/usr/bin:/bin",
            "CALLS": str(folder / "calls"),
            "ANSWERS": str(folder),
            "MANAGEDCHART_HELM_BINARY": "/opt/helm",
            "CONFIRM": "",
        }

    def answer(self, name: str, document: object) -> None:
        """Set what kubectl prints."""
        (self.folder / name).write_text(json.dumps(document))

    def run(self, *, confirm: str = "", typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it; `typed` is what a person at a terminal types."""
        ours, theirs = pty.openpty()
        try:
            if typed is not None:
                os.write(ours, f"{typed}\n".encode())
            return subprocess.run(
                [sys.executable, str(RUN)],
                env={**self.environment, "CONFIRM": confirm},
                stdin=subprocess.DEVNULL if typed is None else theirs,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)

    @property
    def has_applied(self) -> bool:
        """Whether kubectl was told to change anything."""
        return "apply" in (self.folder / "calls").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("name", "server", "local"),
    [
        ("anything", "https://127.0.0.1:6443", True),
        ("anything", "https://[::1]:6443", True),
        ("anything", "https://localhost:6443", True),
        ("docker-desktop", "https://kubernetes.docker.internal:6443", True),
        ("minikube", "https://192.168.49.2:8443", True),
        ("kind-dev", "https://172.18.0.2:6443", True),
        ("prod", "https://192.168.49.2:8443", False),
        ("prod", "https://10.0.0.1", False),
        ("kind-prod", "https://api.example.com", False),
        ("minikube", "https://93.184.215.14", False),
        ("localhost", "https://api.example.com", False),
        ("prod", "https://localhost.example.com", False),
        ("prod", "", False),
    ],
)
def test_only_addresses_of_this_machine_look_local(name: str, server: str, local: bool) -> None:
    assert Context(name, server, {}).is_local is local


@pytest.mark.parametrize("kind", ["exec", "auth-provider", "tokenFile"])
def test_a_login_that_kopf_lacks_is_refused(kind: str) -> None:
    with pytest.raises(RunError, match=f"logs in by `{kind}`.*CONTRIBUTING.md"):
        read_context(json.dumps(config(**{kind: {"command": "aws"}})))


def test_it_says_what_it_will_touch(machine: Machine) -> None:
    said = machine.run().stdout

    assert "prod (does not look local)" in said
    assert "https://api.example.com" in said
    assert "jane" in said
    assert "the CRDs in crds/ (replaces the present ones)" in said
    assert "there are 2 now" in said
    assert "/opt/helm" in said


def test_a_remote_cluster_needs_a_yes(machine: Machine) -> None:
    done = machine.run()

    assert done.returncode == 1
    assert "make run CONFIRM=yes" in done.stderr
    assert not machine.has_applied


@pytest.mark.parametrize("confirm", ["no", "y", "true"])
def test_nothing_but_yes_confirms(machine: Machine, confirm: str) -> None:
    machine.run(confirm=confirm)

    assert not machine.has_applied


def test_a_person_types_the_name_of_the_context(machine: Machine) -> None:
    refused = machine.run(typed="yes")
    assert "nothing was changed" in refused.stderr
    assert not machine.has_applied

    assert "no permission" in machine.run(typed="prod").stderr
    assert machine.has_applied


@pytest.mark.parametrize("local", [False, True])
def test_a_yes_or_a_local_cluster_goes_on(machine: Machine, local: bool) -> None:
    if local:
        machine.answer("config", config(name="kind-dev", server="https://127.0.0.1:1"))

    done = machine.run(confirm="" if local else "yes")

    assert machine.has_applied
    assert done.returncode == 1
    assert "no permission" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_operator_is_refused(machine: Machine) -> None:
    deployment = {"metadata": {"namespace": "managedchart-system", "name": "operator"}, "spec": {"replicas": 1}}
    machine.answer("deployments", {"items": [deployment]})

    done = machine.run(confirm="yes")

    assert "scale deployment/operator --replicas=0" in done.stderr
    assert not machine.has_applied

    machine.answer("deployments", {"items": [deployment | {"spec": {"replicas": 0}}]})
    machine.run(confirm="yes")
    assert machine.has_applied


def test_the_demo_has_an_operator_already(machine: Machine) -> None:
    machine.answer("config", config(name="kind-managedchart-demo", server="https://127.0.0.1:1"))

    assert "make demo-stop" in machine.run().stderr
    assert not machine.has_applied


def test_no_context_is_one_sentence(machine: Machine) -> None:
    machine.answer("config", {"contexts": None, "current-context": ""})

    assert "there is no current kubeconfig context" in machine.run().stderr
