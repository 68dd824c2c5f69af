"""The cluster of the image test, with the identity and the confinement that deploy/ gives the operator.

It uses devcluster and kubectl only. What the operator may do is read from the applied Deployment and its ServiceAccount, never
repeated here.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import Confinement, ImageError

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "managedchart-system"
NAME = "managedchart-operator"
_DEVCLUSTER = str(ROOT / "hack/devcluster/devcluster")


@dataclass(frozen=True)
class Cluster:
    """A running devcluster, seen by its administrator."""

    kubectl_program: Path
    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it prints. Raises ImageError with its own words."""
        command = [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImageError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def server(self) -> tuple[str, str]:
        """Host and port of the API server."""
        host, _, port = str(self._entry()["server"]).removeprefix("https://").rpartition(":")
        return host, port

    def lay_out_identity(self, folder: Path) -> None:
        """Write the three files that a kubelet mounts for the operator's ServiceAccount; everybody can read them."""
        files = {
            "token": self.kubectl("create", "token", NAME, f"--namespace={NAMESPACE}", "--duration=1h").strip(),
            "ca.crt": base64.b64decode(self._entry()["certificate-authority-data"]).decode(),
            "namespace": NAMESPACE,
        }
        folder.chmod(0o755)
        for name, text in files.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)

    def deployment(self) -> dict[str, Any]:
        """The operator's Deployment, as the API server has it."""
        deployment: dict[str, Any] = json.loads(
            self.kubectl("get", "deployment", NAME, f"--namespace={NAMESPACE}", "--output=json")
        )
        return deployment

    def _entry(self) -> dict[str, Any]:
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--output=json"))
        entry: dict[str, Any] = config["clusters"][0]["cluster"]
        return entry


def confinement(deployment: dict[str, Any], *, environment: dict[str, str], mounts: dict[Path, str]) -> Confinement:
    """Translate a Deployment's security context, volumes and variables for a container engine; the arguments override it.

    Raises ImageError if the Deployment allows what the engine will forbid, since the test would prove too much.
    """
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    granted = container["securityContext"]
    if (
        not granted["readOnlyRootFilesystem"]
        or granted["allowPrivilegeEscalation"]
        or granted["capabilities"]["drop"] != ["ALL"]
    ):
        raise ImageError("deploy/deployment.yaml confines the operator less than this test does")
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sizes = {
        volume["name"]: volume["emptyDir"].get("sizeLimit", "") for volume in pod["volumes"] if "emptyDir" in volume
    }
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    return Confinement(
        user=pod["securityContext"]["runAsUser"],
        group=pod["securityContext"]["runAsGroup"],
        writable={paths[name]: size.removesuffix("i").lower() for name, size in sizes.items()},
        environment=variables | environment,
        mounts=mounts,
    )


@contextmanager
def running(name: str, folder: Path) -> Iterator[Cluster]:
    """A devcluster of that name for the length of the block; its kubeconfig lies in the folder."""
    programs = _devcluster("bin")
    kubeconfig = folder / "kubeconfig"
    which = ("cluster", f"--name={name}", f"--kubeconfig={kubeconfig}")
    try:
        _devcluster("create", *which)
        yield Cluster(Path(programs) / "kubectl", kubeconfig)
    finally:
        _devcluster("delete", *which)


def _devcluster(*arguments: str) -> str:
    """Run devcluster; its progress goes to the terminal, its answer is returned. Raises ImageError."""
    done = subprocess.run(
        [_DEVCLUSTER, *arguments], stdout=subprocess.PIPE, text=True, check=False, env=dict(os.environ)
    )
    if done.returncode:
        raise ImageError(f"devcluster {' '.join(arguments)} failed; the reason is printed above")
    return done.stdout.strip()
