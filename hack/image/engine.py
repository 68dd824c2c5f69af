"""Finds the container engine, and makes its command lines: docker, podman or buildah.

`build` and `test` decide what is built and proven. An engine is chosen only if it answers, so a docker client without an
engine never is. A container runs in the foreground of its client and ends with it. `IMAGE_ENGINE` names the engine to use.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NAMES = ("docker", "podman", "buildah")

INSTALL = """\
no container engine answers: neither docker nor podman nor buildah. Install one of them:
  Debian, Ubuntu   apt-get install podman runc
  Fedora           dnf install podman
  macOS            brew install podman && podman machine init && podman machine start
Where `docker version` shows a client only, start the Docker engine."""

# An engine answers in a fraction of a second; one that hangs must not block the script.
_ANSWER_SECONDS = 30
# Where root lacks CAP_SYS_RESOURCE, the default of podman (a million open files) cannot be set. The operator and its
# helm processes use a few hundred.
_ULIMITS = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]


class ImageError(Exception):
    """Something that the user can fix; shown without a traceback."""


@dataclass(frozen=True)
class Confinement:
    """What a container may do, as a Deployment says it."""

    user: int
    group: int
    writable: Mapping[str, str]
    """Path -> size of each place that can be written."""
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[Path, str] = field(default_factory=dict)
    """Folder of this machine -> path in the container, read-only."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    name: str

    @property
    def confines_fully(self) -> bool:
        """Whether it can make the root file system read-only and forbid new privileges; buildah can neither."""
        return self.name != "buildah"

    @property
    def passes_signals_on(self) -> bool:
        """Whether a signal to the client reaches the program in the container; buildah kills it instead."""
        return self.name != "buildah"

    def has(self, image: str) -> bool:
        """Whether the image is on this machine."""
        check = ["inspect", "--type=image"] if self.name == "buildah" else ["image", "inspect"]
        return subprocess.run([self.name, *check, image], capture_output=True, check=False).returncode == 0

    def pull(self, image: str) -> None:
        """Fetch an image from its registry. Raises ImageError with the engine's own words."""
        done = subprocess.run([self.name, "pull", image], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImageError(f"{self.name} cannot pull {image}: {done.stderr.strip()}")

    def size(self, image: str) -> int:
        """The image's size in bytes, unpacked; 0 if the engine does not report it."""
        if self.name == "buildah":
            return 0
        command = [self.name, "image", "inspect", "--format={{.Size}}", image]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def build(
        self,
        context: Path,
        *,
        tag: str,
        dockerfile: Path,
        arguments: Mapping[str, str] | None = None,
        ca_certificates: Path | None = None,
    ) -> None:
        """Build an image, with the network of this machine. The CA bundle is lent to the build as a secret.

        Raises ImageError; the engine's own output goes to stderr.
        """
        command = [self.name, "build", "--network=host", f"--tag={tag}", f"--file={dockerfile}"]
        if self.name != "docker":
            # chroot: no runtime and no cgroups are needed, so it works inside a container, too.
            command += ["--layers", "--format=docker", "--isolation=chroot", *_ULIMITS]
        command += [f"--build-arg={key}={value}" for key, value in (arguments or {}).items()]
        if ca_certificates:
            command.append(f"--secret=id=ca-certificates,src={ca_certificates}")
        environment = os.environ | {"DOCKER_BUILDKIT": "1"}
        if subprocess.run([*command, str(context)], env=environment, stdout=sys.stderr, check=False).returncode:
            raise ImageError(f"{self.name} could not build {tag}; the reason is printed above")

    def prepare(self, image: str, *, name: str) -> None:
        """Do what has to be done before `command` works: buildah makes a container first."""
        if self.name == "buildah":
            subprocess.run(
                ["buildah", "from", f"--name={name}", "--pull-never", image], stdout=subprocess.DEVNULL, check=True
            )

    def remove(self, name: str) -> None:
        """Remove the container, running or not; ignores a missing one."""
        force = [] if self.name == "buildah" else ["--force"]
        subprocess.run([self.name, "rm", *force, name], capture_output=True, check=False)

    def command(
        self,
        image: str,
        *,
        name: str,
        confinement: Confinement,
        program: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> list[str]:
        """Return the command line that runs a container in the foreground, with the network of this machine.

        Without a `program` the image's own entry point gets the arguments.
        """
        user = f"--user={confinement.user}:{confinement.group}"
        variables = [f"--env={key}={value}" for key, value in confinement.environment.items()]
        mounts = [f"--volume={folder}:{path}:ro" for folder, path in confinement.mounts.items()]
        if self.name == "buildah":
            # It follows a link in the target of a mount out of the image: /var/run leads to /run.
            mounts = [mount.replace(":/var/run/", ":/run/") for mount in mounts]
            writable = [f"--mount=type=tmpfs,destination={path}" for path in confinement.writable]
            # buildah does not know entry points.
            program = program or ("managedchart-operator",)
            options = ["--isolation=chroot", "--cap-drop=all", user, *variables, *mounts, *writable]
            return ["buildah", "run", *options, name, "--", *program, *arguments]
        options = [
            "--rm",
            f"--name={name}",
            "--network=host",
            "--read-only",
            "--cap-drop=all",
            user,
            *variables,
            *mounts,
        ]
        options += ["--security-opt=no-new-privileges", *_ULIMITS]
        # The mode of an emptyDir; both engines would otherwise give some tmpfs to root.
        options += [f"--tmpfs={path}:rw,mode=1777,size={size}" for path, size in confinement.writable.items()]
        if self.name == "podman":
            # What a kubelet would not do either: more places to write, an entry in /etc/passwd.
            options += ["--read-only-tmpfs=false", "--passwd=false", "--security-opt=label=disable"]
        if program:
            options.append(f"--entrypoint={program[0]}")
        return [*self._client(), "run", *options, image, *program[1:], *arguments]

    def _client(self) -> list[str]:
        # crun refuses a hybrid cgroup hierarchy; runc works wherever it is installed.
        return ["podman", "--runtime=runc"] if self.name == "podman" and shutil.which("runc") else [self.name]


def find() -> Engine:
    """Return the engine to use. Raises ImageError that says what to install."""
    wanted = os.environ.get("IMAGE_ENGINE")
    if wanted and wanted not in NAMES:
        raise ImageError(f"IMAGE_ENGINE={wanted} is not one of {', '.join(NAMES)}")
    for name in [wanted] if wanted else NAMES:
        if _answers(name):
            return Engine(name)
    raise ImageError(f"{wanted} does not answer, and IMAGE_ENGINE allows no other" if wanted else INSTALL)


def _answers(name: str) -> bool:
    # `docker version` fails without an engine; the other two have none behind them.
    question = [name, "version", "--format={{.Server.Version}}"] if name == "docker" else [name, "--version"]
    try:
        return subprocess.run(question, capture_output=True, timeout=_ANSWER_SECONDS, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
