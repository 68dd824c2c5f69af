"""The demo's cluster: a devcluster with the CRDs and the identity of deploy/, and no operator in it.

It uses devcluster, kubectl and the standard library only, so that `make demo-stop` works without .venv. The
user's own kubeconfig and kubectl cache stay untouched.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from background import DemoError, all_alive
from controlplane import files, folders
from controlplane.errors import exit_in_words
from places import ROOT

NAME = "managedchart-demo"
NAMESPACE = "demo"
_SYSTEM, _ACCOUNT = "managedchart-system", "managedchart-operator"
_DEVCLUSTER = str(ROOT / "hack" / "devcluster" / "devcluster")
# deploy/ without its Deployment and its Service: the operator runs next to the cluster, not in it.
_INSTALLED = (
    "crds/managedchart.yaml",
    "crds/lifecycleprofile.yaml",
    "deploy/namespace.yaml",
    "deploy/serviceaccount.yaml",
    "deploy/rbac.yaml",
)
# Longer than anybody leaves a demo running; the token dies with the cluster anyway.
_TOKEN_LIFETIME = "8760h"


@dataclass(frozen=True)
class Cluster:
    """The running cluster, seen by its administrator. `programs` is the folder with helm, kubectl and the registry."""

    programs: Path
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def operator_kubeconfig(self) -> Path:
        """The kubeconfig of the operator's ServiceAccount."""
        return self.folder / "operator.kubeconfig"

    def command(self, *arguments: str) -> list[str]:
        """The command line of a kubectl call."""
        return [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which kubectl writes nothing outside of the folder."""
        return os.environ | {"KUBECACHEDIR": str(self.folder / "kubectl-cache")}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return its output. Raises DemoError with its error."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            program = self.programs / "kubectl"
            raise DemoError(
                f"kubectl {' '.join(arguments)}: {done.stderr.strip() or exit_in_words(program, done.returncode)}"
            )
        return done.stdout

    def install(self) -> None:
        """Apply the CRDs and the operator's identity, and write the operator's kubeconfig."""
        files = [f"--filename={ROOT / name}" for name in _INSTALLED]
        self.kubectl("apply", "--server-side", "--force-conflicts", *files)
        # A CRD that was just created has no list of conditions yet, on which kubectl ends with an error: so the names first.
        for state in ("jsonpath={.status.acceptedNames.kind}=ManagedChart", "condition=Established"):
            self.kubectl("wait", f"--for={state}", "crd/managedcharts.managedchart.dev", "--timeout=60s")
        self.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(_namespace(NAMESPACE)))
        if not self._accepts_operator():
            self._write_operator_kubeconfig()

    def play_the_cloud(self) -> None:
        """Install what a cloud would have, once: later these objects belong to a release."""
        if not self.kubectl(
            "get", "daemonset/aws-node", "--namespace=kube-system", "--ignore-not-found", "--output=name"
        ):
            cloud = Path(__file__).parent / "cloud.yaml"
            self.kubectl("apply", "--server-side", "--field-manager=eks", f"--filename={cloud}")

    def _accepts_operator(self) -> bool:
        """Whether the operator's token is still valid: one of a ServiceAccount that was deleted since is not."""
        if not self.operator_kubeconfig.exists():
            return False
        try:
            # The later --kubeconfig counts.
            self.kubectl("auth", "whoami", f"--kubeconfig={self.operator_kubeconfig}")
        except DemoError:
            return False
        return True

    def _write_operator_kubeconfig(self) -> None:
        token = self.kubectl("create", "token", _ACCOUNT, f"--namespace={_SYSTEM}", f"--duration={_TOKEN_LIFETIME}")
        config = json.loads(self.kubectl("config", "view", "--raw", "--output=json"))
        config["users"] = [{"name": _ACCOUNT, "user": {"token": token.strip()}}]
        for entry in config["contexts"]:
            entry["context"]["user"] = _ACCOUNT
        files.replace(self.operator_kubeconfig, json.dumps(config, indent=2))


def bring_up(folder: Path) -> tuple[Cluster, bool]:
    """Return the cluster, and whether it had to be made. Programs that are missing are built first, with progress."""
    cluster = Cluster(Path(_devcluster("build")), folder)
    if NAME in _devcluster("get", "clusters", quiet=True).split():
        if all_alive(folders.cluster(NAME)) and cluster.kubeconfig.exists() and _is_ready(cluster):
            return cluster, False
        print("  the cluster exists but some of its processes have ended: creating a new one", flush=True)
        _devcluster("delete", "cluster", f"--name={NAME}", f"--kubeconfig={cluster.kubeconfig}")
    cluster.operator_kubeconfig.unlink(missing_ok=True)  # its token belongs to the former cluster
    cluster.kubeconfig.unlink(missing_ok=True)
    _devcluster("create", "cluster", f"--name={NAME}", f"--kubeconfig={cluster.kubeconfig}")
    return cluster, True


def take_down(folder: Path) -> None:
    """End the cluster, if there is one."""
    _devcluster("delete", "cluster", f"--name={NAME}", f"--kubeconfig={folder / 'kubeconfig'}")


def _is_ready(cluster: Cluster) -> bool:
    try:
        cluster.kubectl("get", "--raw=/readyz")
    except DemoError:
        return False
    return True


def _namespace(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _devcluster(*arguments: str, quiet: bool = False) -> str:
    """Run devcluster and return its answer; its progress goes to the terminal. Raises DemoError."""
    done = subprocess.run(
        [_DEVCLUSTER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"devcluster {' '.join(arguments)} failed; the reason is printed above")
    return done.stdout.strip()
