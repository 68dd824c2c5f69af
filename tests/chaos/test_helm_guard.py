"""The guard finds helms, and nothing else that looks like one."""

import os
import signal
import subprocess
from pathlib import Path

from chaos.helm_guard import HelmGuard


def test_what_a_helm_has_forked_is_no_helm_of_its_own(tmp_path: Path) -> None:
    """Between fork and exec it has helm's command line; one that was killed there passed for an overlap."""
    helm = tmp_path / "helm"
    helm.write_text("#!/bin/sh\n(echo forked; read -r never)\n")
    helm.chmod(0o755)
    guard = HelmGuard(tmp_path / "guard", helm=str(helm), identity=tmp_path / "cache")
    with subprocess.Popen(
        [guard.program, "upgrade", "web", "--namespace=apps"],
        env={**os.environ, "MANAGEDCHART_HELM_OF": str((tmp_path / "cache").resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"forked\n"
        assert guard.running() == [(started.pid, "upgrade web")]
        assert guard.kill(0.99) == "upgrade web"
        assert started.wait() == -signal.SIGKILL
    assert guard.running() == []
    assert (guard.started, guard.overlaps) == (1, [])
