"""Replaces a file that other processes read: a reader sees the old text or the new one, never half of it."""

import os
from pathlib import Path


def replace(file: Path, text: str) -> None:
    """Write `text` to `file` by one rename, readable for its owner only: some of these files hold a token."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(file)
