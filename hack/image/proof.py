"""Runs inside a container of the image and prints as JSON how it is confined; `test` compares it with the Deployment."""

import json
import os
from pathlib import Path


def _can_write(folder: str) -> bool:
    try:
        (Path(folder) / "proof").touch()
        (Path(folder) / "proof").unlink()
    except OSError:
        return False
    return True


_status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
_folders = ("/", "/etc", "/opt/managedchart", "/tmp", "/var/cache/managedchart", "/var/run")
print(
    json.dumps(
        {
            "uid": os.getuid(),
            "gid": os.getgid(),
            "capabilities": int(_status["CapEff"], 16),
            "seccomp filter": _status["Seccomp"].strip() == "2",
            "new privileges forbidden": _status["NoNewPrivs"].strip() == "1",
            "root read-only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
            "can write to": [folder for folder in _folders if _can_write(folder)],
        }
    )
)
