"""The commands of docs/removal.md, run as they stand there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from e2e.removal.conftest import MakeOperator
from e2e.removal.platform import CRD, CRDS, NAMES, delete_crd, deploy, wait_crd_gone, wait_deleting, workloads
from harness.cluster import MANAGEDCHARTS, Cluster
from harness.operator_process import SYSTEM_NAMESPACE

KEPT = [(1, "deployed")]
TAKEN_OVER = [(1, "superseded"), (2, "deployed")]
STARTED = "managedchart_helm_processes_started_total"
NAMESPACES = "/api/v1/namespaces"


class Shell:
    """A folder with crds/ and deploy/, and a shell in it whose kubectl leads to the cluster."""

    def __init__(self, cluster: Cluster, tools: Path, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.kubeconfig),
        }

    def run(self, block: str) -> str:
        """Run a block of commands and return its output; fails with what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def shell(installed: Cluster, tools: Path, tmp_path: Path) -> Shell:
    """The folder as the installation in README.md leaves it, and what that installs."""
    folder = tmp_path / "repository"
    for name in ("crds", "deploy"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shell = Shell(installed, tools, folder)
    [install] = [block for block in blocks("README.md", "Install it in a cluster") if "apply" in block]
    shell.run(install)
    return shell


def blocks(page: str, heading: str) -> list[str]:
    """Return the blocks of shell commands below a heading of a page."""
    [section] = re.findall(
        rf"^## {heading}\n(.*?)(?=^## |\Z)", (REPOSITORY / page).read_text(), re.DOTALL | re.MULTILINE
    )
    return re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def removal(heading: str) -> list[str]:
    """Return the blocks of a section of the page."""
    return blocks("docs/removal.md", heading)


def revisions(cluster: Cluster, namespace: str) -> list[list[tuple[int, str]]]:
    """Return the revisions of each release of the platform."""
    return [cluster.revisions(namespace, name) for name in NAMES]


def test_removing_the_operator_touches_nothing(
    installed: Cluster, own_ns: str, shell: Shell, make_operator: MakeOperator
) -> None:
    """Also while it still runs and loses its permissions. Installed again, it finds everything as it was.

    What was deleted in between waited for it.
    """
    operator = make_operator().start()
    deploy(installed, own_ns, *NAMES)
    before = workloads(installed, own_ns)
    [remove] = removal("Remove the operator")
    shell.run(remove)
    assert installed.get(f"{NAMESPACES}/{SYSTEM_NAMESPACE}") is None
    assert len(installed.items(f"{MANAGEDCHARTS}/namespaces/{own_ns}/managedcharts")) == len(NAMES)
    assert workloads(installed, own_ns) == before
    assert revisions(installed, own_ns) == [KEPT] * 3
    installed.kubectl("delete", "managedchart", NAMES[0], f"--namespace={own_ns}", "--wait=false")
    operator.stop()
    assert workloads(installed, own_ns) == before

    shell.run("kubectl apply -k my-operator/")
    successor = make_operator().start()
    installed.wait_gone(f"{MANAGEDCHARTS}/namespaces/{own_ns}/managedcharts", NAMES[0])
    for name in NAMES[1:]:
        installed.wait_ready(own_ns, name)
    assert successor.metric(STARTED) == 1  # the uninstall
    assert revisions(installed, own_ns) == [[], KEPT, KEPT]
    assert workloads(installed, own_ns).items() <= before.items()


def test_removing_the_crd_too_keeps_the_releases_which_are_taken_over_again(
    installed: Cluster, own_ns: str, shell: Shell, make_operator: MakeOperator
) -> None:
    operator = make_operator().start()
    deploy(installed, own_ns, *NAMES)
    before = workloads(installed, own_ns)
    save, come_back = removal("Save the ManagedCharts and come back")
    shell.run(save)
    remove, list_secrets = removal("Remove the CRD as well")
    shell.run(remove)
    wait_crd_gone(installed)
    assert installed.get(f"{NAMESPACES}/{SYSTEM_NAMESPACE}") is None
    assert workloads(installed, own_ns) == before
    assert revisions(installed, own_ns) == [KEPT] * 3
    assert {f"sh.helm.release.v1.{name}.v1" for name in NAMES} <= set(shell.run(list_secrets).split())
    assert operator.wait() == 1

    shell.run(come_back)
    make_operator().start()
    for name in NAMES:
        installed.wait_ready(own_ns, name)
    assert workloads(installed, own_ns) == before
    assert revisions(installed, own_ns) == [TAKEN_OVER] * 3


def test_removing_the_releases_too_leaves_nothing(
    installed: Cluster, own_ns: str, shell: Shell, make_operator: MakeOperator
) -> None:
    make_operator().start()
    deploy(installed, own_ns, *NAMES)
    [remove] = removal("Remove the releases too")
    shell.run(remove)
    wait_crd_gone(installed)
    assert installed.get(f"{NAMESPACES}/{SYSTEM_NAMESPACE}") is None
    assert workloads(installed, own_ns) == {}
    assert revisions(installed, own_ns) == [[], [], []]


def test_what_hangs_without_an_operator_is_freed(
    installed: Cluster, own_ns: str, shell: Shell, make_operator: MakeOperator
) -> None:
    """The ManagedCharts, the CRD, and the operator's own namespace; the finalizers of others stay on."""
    operator = make_operator().start()
    deploy(installed, own_ns, *NAMES)
    deploy(installed, SYSTEM_NAMESPACE, "at-home", targetNamespace=own_ns)
    before = workloads(installed, own_ns)
    operator.stop()
    foreign = '-p=[{"op": "add", "path": "/metadata/finalizers/0", "value": "example.com/theirs"}]'
    installed.kubectl("patch", "managedchart", NAMES[0], f"--namespace={own_ns}", "--type=json", foreign)
    shell.run("kubectl delete -k my-operator/ --wait=false")
    delete_crd(installed)
    for namespace, name in ((SYSTEM_NAMESPACE, "at-home"), *((own_ns, name) for name in NAMES)):
        wait_deleting(installed, namespace, name)

    free, _ = removal("When the deletion hangs")
    shell.run(free)
    path = f"{MANAGEDCHARTS}/namespaces/{own_ns}/managedcharts"
    for name in NAMES[1:]:
        installed.wait_gone(path, name)
    assert installed.managedchart(own_ns, NAMES[0])["metadata"]["finalizers"] == ["example.com/theirs"]
    installed.kubectl(
        "patch",
        "managedchart",
        NAMES[0],
        f"--namespace={own_ns}",
        "--type=merge",
        '-p={"metadata":{"finalizers":null}}',
    )
    installed.wait_gone(CRDS, CRD)
    installed.wait_gone(NAMESPACES, SYSTEM_NAMESPACE)
    assert workloads(installed, own_ns) == before
    assert [*revisions(installed, own_ns), installed.revisions(own_ns, "at-home")] == [KEPT] * 4


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    """So a new section comes with its test."""
    counts = {
        "Remove the operator": 1,
        "Remove the CRD as well": 2,
        "Remove the releases too": 1,
        "Save the ManagedCharts and come back": 2,
        # The last one is what test_crd_removal.py grants the permission with.
        "When the deletion hangs": 2,
    }
    text = (REPOSITORY / "docs" / "removal.md").read_text()
    assert {heading: len(removal(heading)) for heading in counts} == counts
    assert text.count("```sh\n") == sum(counts.values())
