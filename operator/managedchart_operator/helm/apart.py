"""Calls a reader of untrusted text where it cannot hold up the event loop: in a thread, or in a worker process if it is large.

A thread is enough for a small text. But while libyaml reads one long scalar, or Python's json a document, no other thread of
the process runs, the event loop's neither: 10 ms a megabyte, and more if the text was made for it (measured). So a large text
is read in a worker, which also limits the memory that it takes, and is ended at a deadline.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from managedchart_operator.errors import WorkerError
from managedchart_operator.worker import run_in_worker

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# Bytes or characters. The documents of most releases are smaller (podinfo 0.05 MB, ingress-nginx 0.6 MB), so that their runs
# need no worker; those of the largest charts have some 9 MB.
LARGE = 2 * 1024 * 1024
# The largest manifest that is read takes a second.
_SECONDS = 20.0


async def read_apart(
    function: Callable[[*Arguments], Result], *args: *Arguments, size: int, error: Callable[[str], Exception]
) -> Result:
    """Return what a function of a module returns for an input of this size, or raise what it raises.

    `error` makes the exception for an input that takes too much time or memory.
    """
    if size <= LARGE:
        return await asyncio.to_thread(function, *args)
    try:
        return await run_in_worker(function, *args, seconds=_SECONDS)
    except WorkerError as failed:
        raise error(f"it takes too much {'memory' if failed.why == 'memory' else 'time'} to read") from failed
