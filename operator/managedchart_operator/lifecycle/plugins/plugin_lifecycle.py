"""A lifecycle whose phases run in processes of their own: one for each call of a phase that the plug-in overrides.

The other phases are those of the default lifecycle, and need no process. A process is ended when its phase has ended, is
cancelled, or has reached its deadline; what it has asked for and still runs is cancelled then, in order.
"""

import asyncio
import functools
import json
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from managedchart_operator.api.status import Phase
from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.errors import LifecycleError, OperatorError, PluginVersion, WorkerError
from managedchart_operator.lifecycle.base import METHODS, Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.lifecycle.deadline import Deadline, off_the_clock
from managedchart_operator.lifecycle.plugins import wire
from managedchart_operator.lifecycle.plugins.answers import Answers, ProtocolError, cancelled, sent_context
from managedchart_operator.lifecycle.plugins.places import Place
from managedchart_operator.lifecycle.plugins.processes import MIB, PluginProcess, PluginProcesses
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut

# A phase has some calls under way; what is beyond them is read when one has ended.
_CALLS_AT_ONCE = 16
_MAX_TEXT = 4096
_MAX_PAYLOAD_BYTES = 1024 * 1024
# What exec calls.
_PARTS_OF_EXEC = frozenset({"exec", "deploy", "destroy", "uninstall_before_breaking_version"})
_LOG_HINT = "Correct the plug-in; the operator's log has what it printed."


@dataclass(frozen=True, slots=True)
class Plugin:
    """A lifecycle of a plug-in: where it is, and what it overrides."""

    name: str
    origin: str
    """For people: `plug-in coredns.py`, `package my-lifecycles 1.0`."""
    source: Mapping[str, str]
    kind: str
    """Qualified name of its class."""
    overrides: frozenset[str]
    digest: str = ""
    """Short digest of its code."""

    @property
    def version(self) -> PluginVersion:
        """Identifies its code."""
        return PluginVersion(self.name, self.digest)


class PluginLifecycle(Lifecycle):
    """Runs the phases of a plug-in."""

    def __init__(self, plugin: Plugin, processes: PluginProcesses) -> None:
        self.plugin, self._processes = plugin, processes

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.CHECK_PREREQUISITES, "check_prerequisites", context, payload)

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.PRE_EXEC, "pre_exec", context, payload)

    async def exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in, with all that exec calls, in one process."""
        return await self._run(Phase.EXEC, "exec", context, payload)

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: OperatorError) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.ON_DEPLOY_FAILURE, "on_deploy_failure", context, payload, error)

    async def post_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.POST_EXEC, "post_exec", context, payload)

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.VALIDATE, "validate", context, payload)

    async def pre_delete(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.PRE_DELETE, "pre_delete", context, payload)

    async def post_delete(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the plug-in."""
        return await self._run(Phase.POST_DELETE, "post_delete", context, payload)

    def has(self, phase: Phase) -> bool:
        """Whether the plug-in overrides the phase."""
        return METHODS[phase] in self.plugin.overrides

    async def _run(
        self, phase: Phase, method: str, context: PhaseContext, payload: Payload, error: OperatorError | None = None
    ) -> Payload:
        """Run a phase in a process, or, if the plug-in leaves it as it is, that of the default lifecycle here."""
        if not self.plugin.overrides & (_PARTS_OF_EXEC if method == "exec" else {method}):
            more = () if error is None else (error,)
            default: Payload = await getattr(super(), method)(context, payload, *more)
            return default
        what = f"Phase {phase.value} of the lifecycle {self.plugin.name} ({self.plugin.origin})"
        async with (
            self._processes.places.hold() as place,
            _Blamed(self.plugin) as blamed,
            Deadline.of(context.spec, what=what, meanwhile=place.left) as deadline,
        ):
            call = _PhaseCall(self._processes, off_the_clock(context, deadline), what, place)
            blamed.innocent = call.answers.errors
            with_start = (
                {} if error is None else {"error": {**wire.error_to_wire(error), "known": call.answers.known(error)}}
            )
            return await call.run(
                {
                    "source": dict(self.plugin.source),
                    "name": self.plugin.name,
                    "class": self.plugin.kind,
                    "method": method,
                    "payload": dict(payload),
                    "error": None,
                    "level": context.logger.getEffectiveLevel(),
                    "context": sent_context(context),
                    **with_start,
                }
            )


class _Blamed:
    """Marks what the code of a plug-in raises with its version, but not the errors of what it has asked for."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self.innocent: Sequence[OperatorError] = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not any(each is error for each in self.innocent):
            error.__dict__.update(plugin=self._plugin.version)  # also of a defect, which `base` wraps


class _PhaseCall:
    """One phase in one process."""

    def __init__(self, processes: PluginProcesses, context: PhaseContext, what: str, place: Place) -> None:
        self._processes, self._what, self._place = processes, what, place
        self.answers = Answers(context)
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def run(self, request: Mapping[str, Any]) -> Payload:
        """Run the phase and return its payload. Raises what it raises, and LifecycleError for a process that fails."""
        try:
            start = wire.framed({"run": request})
        except (TypeError, ValueError, RecursionError) as error:
            raise LifecycleError(f"{self._what} cannot get its payload: {error}", transient=False) from error
        try:
            async with self._processes.started(lambda line: self.answers.log(logging.INFO, line)) as process:
                try:
                    await process.connection.send(start)
                    result = await self._converse(process)
                finally:
                    # Not before the process has ended: it would only make further calls.
                    _, late = await finish_before_cancel(self._finish(process))
                    if late:
                        raise late
        except WorkerError as error:
            raise self._failed(error.message) from error
        except (ProtocolError, ValueError) as error:
            raise self._failed(f"The process of the plug-in sent something else than calls: {error}") from error
        if result is None:
            raise self._failed(_why_ended(process.exit_code or 0))
        return self._read(result)

    async def _finish(self, process: PluginProcess) -> None:
        await self._processes.end(process)
        await cancelled(list(self._calls.values()))

    async def _converse(self, process: PluginProcess) -> dict[str, Any] | None:
        """Answer the calls of the phase, and return its last message; None if there is none. Raises ProtocolError."""
        while (message := await process.connection.receive()) is not None:
            if "cancel" in message:
                if task := self._calls.get(message["cancel"] if type(message["cancel"]) is int else -1):
                    task.cancel()
            elif "id" in message:
                await self._places.acquire()
                self._begin(process, message)
            elif "call" in message:
                self.answers.tell(message)
            else:
                return message
            self._raise_misuse()
        self._raise_misuse()
        return None

    def _begin(self, process: PluginProcess, message: Mapping[str, Any]) -> None:
        number = message["id"]
        if type(number) is not int or number in self._calls:
            raise ProtocolError("a call without a number of its own")
        task = self._calls[number] = asyncio.create_task(self._answer(process, number, message))
        task.add_done_callback(functools.partial(self._ended, number))

    async def _answer(self, process: PluginProcess, number: int, message: Mapping[str, Any]) -> None:
        try:
            answer = await self.answers.answer(message)
        except asyncio.CancelledError:
            if process.exit_code is None:
                await self._place.come_back()  # the plug-in has cancelled the call, and works on
                await process.connection.send(wire.framed({"id": number, "defect": "cancelled"}))
            raise
        except Exception:
            process.connection.close()  # ends `_converse`, which raises it
            raise
        await process.connection.send(answer)

    def _ended(self, number: int, task: "asyncio.Task[None]") -> None:
        self._places.release()
        if task.cancelled() or task.exception() is None:
            del self._calls[number]

    def _raise_misuse(self) -> None:
        for task in self._calls.values():
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    def _read(self, result: Mapping[str, Any]) -> Payload:
        """Return the payload in the last message of a phase. Raises the error in it."""
        if isinstance(payload := result.get("payload"), dict):
            if len(json.dumps(payload)) > _MAX_PAYLOAD_BYTES:
                raise LifecycleError(
                    f"{self._what} returned a payload of more than {_MAX_PAYLOAD_BYTES // MIB} MiB",
                    transient=False,
                    hint="Pass on less, such as a digest or names.",
                )
            return payload
        if isinstance(error := result.get("error"), dict):
            raise self._error(error)
        if isinstance(defect := result.get("defect"), dict):
            raise _defect(defect)
        if result.get("memory") is True:
            raise LifecycleError(
                f"{self._what} needs more than {self._processes.memory // MIB} MiB of memory",
                hint="Correct the plug-in, or raise the setting MANAGEDCHART_PLUGIN_MEMORY.",
            )
        raise self._failed("The process of the plug-in sent no result")

    def _error(self, sent: Mapping[str, Any]) -> OperatorError:
        """Return an error that the phase has raised: the operator's own as it was, with the plug-in's words."""
        message, hint = cut(str(sent.get("message")), _MAX_TEXT), sent.get("hint")
        hint = cut(str(hint), _MAX_TEXT) if hint else None
        known, transient = sent.get("known"), sent.get("transient") is True
        try:
            reason = Reason(str(sent.get("reason")))
        except ValueError:
            reason = Reason.LIFECYCLE_FAILED
        if type(known) is int and 0 <= known < len(self.answers.errors):
            error = self.answers.errors[known]
            error.message, error.reason, error.transient, error.hint = message, reason, transient, hint
            return error
        return LifecycleError(message, reason=reason, transient=transient, hint=hint)

    def _failed(self, why: str) -> LifecycleError:
        return LifecycleError(f"{self._what} failed: {why}", hint=_LOG_HINT)


def _why_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "The process of the plug-in was killed, by the kernel if memory ran out"
    if code < 0:
        return f"The process of the plug-in was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"The process of the plug-in ended with exit code {code}"


@functools.lru_cache(maxsize=256)
def _defect_type(kind: str, place: str) -> type[Exception]:
    """Return a type for a defect of a plug-in: the log counts defects by their type."""
    return type(
        kind if kind.isidentifier() else "Exception", (Exception,), {"__doc__": place, "__module__": "builtins"}
    )


def _defect(sent: Mapping[str, Any]) -> Exception:
    """Return the exception of a plug-in as one of the operator, whose note has the traceback in the plug-in."""
    kind, text, trace, place = (cut(str(sent.get(each)), 2 * _MAX_TEXT) for each in ("kind", "text", "trace", "place"))
    error = _defect_type(kind, place)(text)
    error.add_note(f"In the process of the plug-in:\n{trace}")
    return error
