"""Runs one phase of a plug-in, or says what is in a plug-in, as the operator asks; then the process ends.

The request is the first message on the connection. `{"describe": source}` is answered by `{"lifecycles": […]}`, `{"run": …}` by
`{"payload": …}`, and both by `{"error": …}` for an OperatorError of the phase, or `{"defect": …}` for any other exception.
"""

import asyncio
import inspect
import io
import logging
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from managedchart_operator.errors import OperatorError
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.plugins import loading, wire
from managedchart_operator.lifecycle.plugins.channel import Channel
from managedchart_operator.lifecycle.plugins.stand_ins import RemoteLog, context_of

_MAX_TRACEBACK = 8000


def serve(descriptor: int) -> None:
    """Answer the request on the connection."""
    own = os.getpid()
    sys.dont_write_bytecode = True  # the folder is mounted read-only, and belongs to nobody
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a process that is killed loses what it has not written
    with socket.socket(fileno=descriptor) as connection:
        channel = Channel(connection)
        request = channel.receive()
        result = _result(channel, request)
        if os.getpid() == own:  # and not a process that a plug-in has forked
            channel.send(result)


def _result(channel: Channel, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        result = _answer(channel, request)
        wire.framed(result)
    except MemoryError:
        # Whatever was made is no longer referred to, so there is memory for this.
        return {"memory": True}
    except OperatorError as error:
        return {"error": {**wire.error_to_wire(error), "known": error.__dict__.get("known_to_operator")}}
    except BaseException as error:  # noqa: BLE001 -- also SystemExit: it is the plug-in's, and reported
        return {"defect": _defect(error)}
    return result


def _answer(channel: Channel, request: Mapping[str, Any]) -> dict[str, Any]:
    if "describe" in request:
        return loading.described(request["describe"])
    run = request["run"]
    logging.getLogger().addHandler(RemoteLog(channel))
    logging.getLogger().setLevel(run["level"])
    lifecycle = _made(run["source"], run["name"], run["class"])
    context = context_of(channel, run["context"])
    channel.listen()
    arguments: list[Any] = [context]
    if run["payload"] is not None:
        arguments.append(run["payload"])
    if run["error"] is not None:
        error = wire.error_of_operator(run["error"])
        error.__dict__["known_to_operator"] = run["error"]["known"]
        arguments.append(error)
    began = getattr(lifecycle, run["method"])(*arguments)
    if not inspect.iscoroutine(began):
        raise TypeError(f"{run['method']} is not a coroutine: begin it with async def")
    result = asyncio.run(began)
    if not isinstance(result, Mapping):
        raise TypeError(
            f"{run['method']} returned {type(result).__name__} instead of the payload: end it with return payload"
        )
    return {"payload": dict(result)}


def _made(source: Mapping[str, str], name: str, kind: str) -> Lifecycle:
    classes = loading.lifecycles_in(source).get(name, [])
    return next(each for each in classes if each.__qualname__ == kind)()


def _defect(error: BaseException) -> dict[str, Any]:
    if isinstance(error, loading.NotAPluginError):
        return {"kind": "", "text": str(error), "trace": "", "place": ""}
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return {
        "kind": type(error).__name__,
        "text": str(error)[:_MAX_TRACEBACK],
        "trace": "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:],
        "place": f"{last.filename}:{last.lineno}" if last else "",
    }
