"""Carries out what the process of a plug-in asks for: the calls of a phase, and nothing else.

A message is untrusted: the plug-in is code of the administrator, but something may have taken it over. So each call is listed
here with the types of its arguments, and acts with the permissions of the ManagedChart, as the phase itself would. Any other
message ends the phase.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from managedchart_operator.api.status import FailedContainer, FailureEvent
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import UNREADABLE, OperatorError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.context import HelmTests, PhaseContext
from managedchart_operator.lifecycle.plugins import wire
from managedchart_operator.shortening import cut

# A run has some warnings, and a person reads a hundred lines of a log.
MAX_WARNINGS = 32
MAX_LINES = 200
MAX_LINE = 2000
_MAX_REASON, _MAX_WARNING = 64, 1024
# As the evidence that the operator collects itself.
_MAX_EVIDENCE = 50


class ProtocolError(Exception):
    """A message that no phase sends; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Call:
    """The types of the arguments of a call, and of its options."""

    arguments: tuple[type, ...] = ()
    options: Mapping[str, type] = field(default_factory=dict)

    def read(self, args: Any, options: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments and the options. Raises ProtocolError for others than these."""
        if not isinstance(args, list) or not isinstance(options, dict) or len(args) != len(self.arguments):
            raise ProtocolError("a call with other arguments")
        if not options.keys() <= self.options.keys():
            raise ProtocolError("a call with unknown options")
        return (
            [_read(value, kind) for value, kind in zip(args, self.arguments, strict=True)],
            {name: _read(value, self.options[name]) for name, value in options.items()},
        )


def _read(value: Any, kind: type) -> Any:
    if kind is ObjectRef:
        names = ObjectRef.__dataclass_fields__
        if (
            isinstance(value, dict)
            and value.keys() == names.keys()
            and all(type(each) is str for each in value.values())
        ):
            return ObjectRef(**value)
    elif type(value) is kind or (kind is float and type(value) is int):
        return value
    raise ProtocolError(f"a {type(value).__name__} instead of a {kind.__name__}")


_KIND = (str, str)
CALLS: Mapping[str, _Call] = {
    **dict.fromkeys(
        (
            "release.check_inputs", "release.check_namespace", "release.chart_version", "release.installed",
            "release.deployed_here", "release.chart_crds", "release.resume", "release.uninstall", "release.manifest",
            "facts.replaced_version", "extras.crds", "extras.installed_crds", "extras.kinds_changed",
        ),
        _Call(),
    ),
    "extras.query_metrics": _Call((str, str)),
    "facts.chart_objects": _Call((str,), {"most_bytes": int, "most_objects": int}),
    "release.upgrade": _Call(options={"take_ownership": bool}),
    "cluster.get": _Call((ObjectRef,)),
    "cluster.list": _Call(_KIND, {"namespace": str, "labels": str, "fields": str, "metadata_only": bool}),
    "cluster.merge_patch": _Call((ObjectRef, dict)),
    "cluster.try_apply": _Call((ObjectRef, dict), {"force": bool}),
    "cluster.delete": _Call((ObjectRef,)),
    "cluster.namespaced": _Call(_KIND),
    "cluster.served_version": _Call(_KIND),
    "cluster.locate": _Call((dict, str)),
    "cluster.locate_all": _Call((list, str), {"strict": bool}),
    "cluster.resolve": _Call((ObjectRef,)),
}  # fmt: skip
"""What is passed on to the same method of the same part of the context."""


@dataclass(slots=True)
class Answers:
    """Answers the calls of one phase; `errors` are those that its plug-in may let pass."""

    context: PhaseContext
    errors: list[OperatorError] = field(default_factory=list)
    _findings: list[Findings] = field(default_factory=list)
    _redactors: list[Callable[[str], str]] = field(default_factory=list)
    _warnings: int = 0
    _lines: int = 0

    def known(self, error: OperatorError) -> int:
        """Remember an error that is sent to the plug-in, and return its number."""
        self.errors.append(error)
        return len(self.errors) - 1

    async def answer(self, message: Mapping[str, Any]) -> bytes:
        """Carry out a call and return the answer, framed. Raises ProtocolError for what is not a call."""
        number = message.get("id")
        if type(number) is not int:
            raise ProtocolError("a call without a number")
        try:
            result = await self._carry_out(message.get("call"), message.get("args"), message.get("options") or {})
        except OperatorError as error:
            sent = {**wire.error_to_wire(error), "known": self.known(error)}
            return wire.framed({"id": number, "error": sent})
        except ProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 -- what the same call raises in a phase of the operator: its author's
            return wire.framed({"id": number, "defect": f"{type(error).__name__}: {error}"})
        if isinstance(result, list):
            return await asyncio.to_thread(wire.framed_list, {"id": number}, "result", result)
        return wire.framed({"id": number, "result": result})

    async def _carry_out(self, call: Any, args: Any, options: Any) -> Any:
        match call:
            case "facts.stamp":
                return self.context.facts.stamp
            case "facts.replaced_stamp":
                return self.context.facts.replaced_stamp
            case "release.redactor":
                (objects,), _ = _Call((list,)).read(args, options)
                self._redactors.append(await asyncio.to_thread(self.context.release.redactor, objects))
                return len(self._redactors) - 1
            case "redact":
                (number, text), _ = _Call((int, str)).read(args, options)
                if not 0 <= number < len(self._redactors):
                    raise ProtocolError("an unknown redactor")
                return await asyncio.to_thread(self._redactors[number], text)
            case "extras.test":
                _, given = _Call((), {"only": list, "exclude": list, "seconds": float}).read(args, options)
                return _sent_tests(await self.context.extras.test(**given))
            case "release.collect_evidence":
                return self._numbered(await self.context.release.collect_evidence())
        if not isinstance(call, str) or call not in CALLS:
            raise ProtocolError(f"the unknown call {cut(repr(call), 80)}")
        arguments, options = CALLS[call].read(args, options)
        part, _, method = call.partition(".")
        function: Callable[..., Awaitable[Any]] = getattr(getattr(self.context, part), method)
        return await function(*arguments, **options)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Carry out a call without an answer. Raises ProtocolError."""
        args = message.get("args")
        match message.get("call"):
            case "recorder.warn":
                (reason, text), _ = _Call((str, str)).read(args, {})
                self._warnings += 1
                if self._warnings <= MAX_WARNINGS:
                    self.context.recorder.warn(cut(reason, _MAX_REASON), cut(text, _MAX_WARNING))
            case "recorder.evidence":
                (found,), _ = _Call((dict,)).read(args, {})
                self.context.recorder.evidence(self._read_findings(found))
            case "log":
                (level, text), _ = _Call((int, str)).read(args, {})
                self.log(level, text)
            case call:
                raise ProtocolError(f"the unknown call {cut(repr(call), 80)}")

    def log(self, level: int, text: str) -> None:
        """Log a line of the plug-in, up to MAX_LINES."""
        self._lines += 1
        if self._lines <= MAX_LINES:
            self.context.logger.log(min(max(level, logging.DEBUG), logging.ERROR), "%s", cut(text, MAX_LINE))
        elif self._lines == MAX_LINES + 1:
            self.context.logger.warning("further lines of the plug-in are left out in this phase")

    def _numbered(self, findings: Findings) -> dict[str, Any]:
        self._findings.append(findings)
        return {
            "number": len(self._findings) - 1,
            "events": [each.model_dump(mode="json", by_alias=True) for each in findings.events],
            "containers": [each.model_dump(mode="json", by_alias=True) for each in findings.containers],
            "detail": findings.detail,
            "incomplete": findings.incomplete,
        }

    def _read_findings(self, found: Mapping[str, Any]) -> Findings:
        number = found.get("number")
        known = number if type(number) is int and 0 <= number < len(self._findings) else None
        base = Findings() if known is None else self._findings[known]
        try:
            return replace(
                base,
                events=[FailureEvent.model_validate(each) for each in found["events"][:_MAX_EVIDENCE]],
                containers=[FailedContainer.model_validate(each) for each in found["containers"][:_MAX_EVIDENCE]],
                detail=_text(found["detail"]),
                incomplete=_text(found["incomplete"]),
            )
        except UNREADABLE as error:
            raise ProtocolError("evidence of another form") from error


def _sent_tests(tests: HelmTests) -> dict[str, Any]:
    return {
        "passed": list(tests.passed),
        "failed": list(tests.failed),
        "logs": [[pod, container, text] for (pod, container), text in tests.logs.items()],
        "error": tests.error and wire.error_to_wire(tests.error),
    }


def _text(value: Any) -> str | None:
    return None if value is None else cut(str(value), _MAX_WARNING)


def sent_context(context: PhaseContext) -> dict[str, Any]:
    """Return what the process of a plug-in gets of a context; the rest it asks for."""
    return {
        "spec": context.spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "action": context.action.value,
        "operation": context.operation.value,
        "release": {"name": context.release.name, "namespace": context.release.namespace},
        "chart": asdict(context.chart),
    }


async def cancelled(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel calls and wait until they have ended: helm, for one, is ended in order."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
