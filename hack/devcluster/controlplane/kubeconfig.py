"""Writes the administrator's kubeconfig, and merges it into a user's file or removes it there.

kubectl reads the YAML, since it is needed anyway. Names are kind's (`kind-<name>`), so that scripts for kind find their
context. Entries of other clusters in the user's file are not changed.
"""

import base64
import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import files, folders
from .components import Layout
from .errors import DevclusterError


def context(name: str) -> str:
    """The name of the context, cluster and user of the cluster `name`."""
    return f"kind-{name}"


def default_file() -> Path:
    """The file that kubectl and kind write by default."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else Path.home() / ".kube" / "config"


def render(layout: Layout) -> str:
    """The kubeconfig as text. All values are made here and need no quoting."""
    authority = base64.b64encode(layout.certificate.read_bytes()).decode()
    name = context(layout.name)
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: https://127.0.0.1:{layout.ports.apiserver}
    certificate-authority-data: {authority}
contexts:
- name: {name}
  context: {{cluster: {name}, user: {name}}}
current-context: {name}
users:
- name: {name}
  user: {{token: {layout.token}}}
"""


def merge(layout: Layout, file: Path) -> None:
    """Add the cluster to `file` and make it the current context; the file need not exist or may be empty."""
    with _alone():
        _merge(layout, file)


def _merge(layout: Layout, file: Path) -> None:
    if file.exists() and file.read_text().strip():
        # The first file wins where both have an entry: a dead cluster of the same name may have left one.
        paths = os.pathsep.join((str(layout.kubeconfig), str(file)))
        text = _kubectl(layout, ["view", "--raw", "--flatten"], paths)
    else:
        text = layout.kubeconfig.read_text()
    files.replace(file, text)


def remove(layout: Layout, file: Path) -> None:
    """Remove the cluster from `file`, if it is in it."""
    with _alone():
        _remove(layout, file)


def _remove(layout: Layout, file: Path) -> None:
    name = context(layout.name)
    if not file.exists() or name not in file.read_text():
        return
    current = subprocess.run(
        [str(layout.programs / "kubectl"), "config", "current-context"],
        env=os.environ | {"KUBECONFIG": str(file)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    for kind in ("contexts", "clusters", "users"):
        _kubectl(layout, ["unset", f"{kind}.{name}"], str(file))
    if current.stdout.strip() == name:
        _kubectl(layout, ["unset", "current-context"], str(file))


@contextmanager
def _alone() -> Iterator[None]:
    """Lock out other devclusters: two that read, change and write one file at the same time would lose an entry.

    The lock file is removed while it is locked. A process that waited for it then has a file without a name, notices that,
    and locks the file that has the name now.
    """
    folders.state().mkdir(parents=True, exist_ok=True)
    path = folders.state() / ".kubeconfig.lock"
    locked = False
    while not locked:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            locked = _named(path, lock.fileno())
            if locked:
                try:
                    yield
                finally:
                    path.unlink()


def _named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _kubectl(layout: Layout, arguments: list[str], paths: str) -> str:
    answer = subprocess.run(
        [str(layout.programs / "kubectl"), "config", *arguments],
        env=os.environ | {"KUBECONFIG": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode:
        raise DevclusterError(f"kubectl config {' '.join(arguments)} failed on {paths}: {answer.stderr.strip()}")
    return answer.stdout
