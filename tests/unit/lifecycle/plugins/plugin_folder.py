"""A folder of plug-ins, and the operator's side of them."""

import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses

HEAD = """
import asyncio, os, sys, time
from managedchart_operator.plugin import *
"""


def write(folder: Path, **modules: str) -> Path:
    """Write modules, with the usual imports."""
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(HEAD + textwrap.dedent(text))
    return folder


@asynccontextmanager
async def discovered(folder: Path | None, processes: PluginProcesses | None = None) -> AsyncIterator[Plugins]:
    """The plug-ins of a folder, from a server of their own or, since that takes 1 s to start, from one of several tests."""
    if processes is not None:
        yield await Plugins.discover(folder, processes)
        return
    processes = PluginProcesses()
    try:
        yield await Plugins.discover(folder, processes)
    finally:
        await processes.close()
