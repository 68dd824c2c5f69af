"""The operator of an earlier commit: its files in a temporary folder, and a Python with what it needs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.fixtures import REPOSITORY


@dataclass(frozen=True, slots=True)
class OldOperator:
    """Where the commit is checked out, and the Python that runs its operator."""

    files: Path
    python: Path


def commit_of(name: str) -> str:
    """Return the short name of a commit. Raises subprocess.CalledProcessError if there is none."""
    return _git("rev-parse", "--short", "--verify", "--quiet", f"{name}^{{commit}}")


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[OldOperator]:
    """Check a commit out and install what its own lock names, both below a folder; the worktree is removed at the end.

    Raises subprocess.CalledProcessError, after git or pip has said why on stderr.
    """
    files, environment = folder / "files", folder / "venv"
    _git("worktree", "add", "--quiet", "--detach", str(files), commit)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        python = environment / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", str(files / "requirements" / "runtime.lock")], check=True, stdout=sys.stderr)
        # As an editable install does it, without the build system: the worker processes find the package too.
        [packages] = environment.glob("lib/python*/site-packages")
        (packages / "operator.pth").write_text(f"{files / 'operator'}\n")
        yield OldOperator(files, python)
    finally:
        _git("worktree", "remove", "--force", str(files))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
