"""Which plug-ins there are: found once, at the start, by importing each one in a process of its own.

A mounted folder has modules; an installed package has entry points in the group `managedchart.lifecycles`. One that cannot be
imported, or takes too long, is broken: that is logged, counted, and said to the ManagedCharts that name it.
Source: Python Packaging User Guide, "Entry points".
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from managedchart_operator.errors import SpecError, WorkerError
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.plugins import wire
from managedchart_operator.lifecycle.plugins.loading import MAX_NAME, OVERRIDDEN, default_name
from managedchart_operator.lifecycle.plugins.plugin_lifecycle import Plugin, PluginLifecycle
from managedchart_operator.lifecycle.plugins.processes import MIB, PluginProcesses
from managedchart_operator.lifecycle.registry import BUILT_IN, ENTRY_POINT_GROUP
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut

logger = logging.getLogger(__name__)

# To import a large library takes seconds on a busy node; a hanging plug-in delays the start by this.
IMPORT_SECONDS = 20.0
BROKEN_HINT = "Correct the plug-in, and restart the operator."
"""What to do about a broken plug-in."""
_AT_ONCE = 4
_MAX_TEXT = 500
# It tells the former version from the next one.
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Source:
    """A module or an entry point."""

    origin: str
    """For people."""
    name: str
    """The name that its lifecycle most likely has."""
    wire: Mapping[str, str]
    digest: str = ""
    """Short digest of its code."""


@dataclass(slots=True)
class Plugins:
    """The plug-ins of an operator."""

    processes: PluginProcesses
    found: dict[str, Plugin] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """What is wrong, by name."""
    _ambiguous: set[str] = field(default_factory=set)

    @classmethod
    async def discover(cls, folder: Path | None, processes: PluginProcesses) -> "Plugins":
        """Import all plug-ins and return them. Raises nothing: what cannot be used is broken."""
        plugins = cls(processes)
        sources = [*_modules(folder), *_entry_points()]
        places = asyncio.Semaphore(_AT_ONCE)
        answers = await asyncio.gather(*(_described(source, processes, places) for source in sources))
        for source, answer in zip(sources, answers, strict=True):
            plugins._add(source, answer)
        if not sources:
            return plugins
        logger.info("lifecycles of plug-ins: %s", ", ".join(sorted(plugins.found)) or "none")
        for problem in plugins.broken.values():
            logger.error("broken plug-in: %s", problem)
        return plugins

    def find(self, name: str) -> Lifecycle:
        """Return a lifecycle of a plug-in. Raises SpecError (LIFECYCLE_UNKNOWN) that says what is wrong."""
        if name in self.found:
            return PluginLifecycle(self.found[name], self.processes)
        if name in self.broken:
            raise SpecError(
                f"spec.lifecycle.name: {self.broken[name]}",
                reason=Reason.LIFECYCLE_UNKNOWN,
                hint=BROKEN_HINT,
            )
        known = ", ".join([*BUILT_IN, *sorted(self.found)])
        broken = f"; broken: {', '.join(sorted(self.broken))}" if self.broken else ""
        raise SpecError(
            f'spec.lifecycle.name: unknown lifecycle "{name}"; this operator has: {known}{broken}',
            reason=Reason.LIFECYCLE_UNKNOWN,
            hint="Correct the name, or add the plug-in of the lifecycle to the operator.",
        )

    def _add(self, source: Source, answer: "list[Plugin] | str") -> None:
        if isinstance(answer, str):
            self.broken[source.name] = f'the lifecycle "{source.name}" ({source.origin}) cannot be loaded: {answer}'
            return
        for plugin in answer:
            self._add_lifecycle(plugin)

    def _add_lifecycle(self, plugin: Plugin) -> None:
        name, other = plugin.name, self.found.get(plugin.name)
        if name in BUILT_IN:
            logger.warning('the lifecycle "%s" of %s is not used: a built-in one has the name', name, plugin.origin)
        elif other is not None:
            del self.found[name]
            self._ambiguous.add(name)
            both = f"{other.origin} and {plugin.origin}"
            if other.source == plugin.source:
                both = f"the classes {other.kind} and {plugin.kind} of {plugin.origin}"
            self.broken[name] = f'two plug-ins have the lifecycle "{name}": {both}'
        elif name in self._ambiguous:
            self.broken[name] += f" and {plugin.origin}"
        else:
            self.found[name] = plugin


def has_plugins(folder: Path | None) -> bool:
    """Whether there may be plug-ins: a folder for them is set, or a package has some."""
    return folder is not None or bool(entry_points(group=ENTRY_POINT_GROUP))


def _modules(folder: Path | None) -> Iterator[Source]:
    """Yield the modules of a folder. A mounted ConfigMap also has the folders `..data` and `..2026_…`, where its files are."""
    if folder is None:
        return
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        logger.error("the plug-in folder %s cannot be read: %s", folder, error.strerror)  # noqa: TRY400
        return
    for file in files:
        if file.suffix == ".py" and not file.name.startswith((".", "_")) and not file.is_dir():
            yield Source(f"plug-in {file.name}", default_name(file), {"module": str(file)}, _digest_of(file, files))


def _entry_points() -> Iterator[Source]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        package = f"package {point.dist.name} {point.dist.version}" if point.dist else "a package"
        files = point.dist.read_text("RECORD") if point.dist else None  # with a hash of each
        wire = {"entry_point": point.name, "value": point.value}
        yield Source(package, point.name, wire, _short(f"{package} {point.value} {files}".encode()))


def _digest_of(module: Path, files: Sequence[Path]) -> str:
    """Return the digest of a module, with the files of its folder that modules share."""
    parts = []
    for file in files:
        if file == module or (file.suffix == ".py" and file.name.startswith("_")):
            with contextlib.suppress(OSError):  # the import says what is wrong
                parts.append(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}")
    return _short(" ".join(parts).encode())


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


async def _described(source: Source, processes: PluginProcesses, places: asyncio.Semaphore) -> "list[Plugin] | str":
    """Return the lifecycles of a source, or why there are none."""

    def log(line: str) -> None:
        logger.info("%s: %s", source.origin, cut(line, _MAX_TEXT))

    async with places:
        try:
            async with processes.started(log) as process, asyncio.timeout(IMPORT_SECONDS):
                await process.connection.send(wire.framed({"describe": dict(source.wire)}))
                answer = await process.connection.receive()
        except TimeoutError:
            return f"its import did not end within {IMPORT_SECONDS:g} s"
        except WorkerError as error:
            return error.message
        except ValueError as error:
            return f"its process sent something else than its lifecycles: {error}"
    if answer is None:
        return f"its import ended the process with exit code {process.exit_code}"
    if answer.get("memory") is True:
        return f"its import needs more than {processes.memory // MIB} MiB of memory"
    if isinstance(defect := answer.get("defect") or answer.get("error"), dict):
        kind, text = str(defect.get("kind") or ""), str(defect.get("text") or defect.get("message") or "")
        if trace := defect.get("trace"):
            logger.error("%s cannot be imported:\n%s", source.origin, cut(str(trace), 8 * _MAX_TEXT))
        return cut(": ".join(part for part in (kind, text) if part), _MAX_TEXT)
    return _read(source, answer)


def _read(source: Source, answer: Mapping[str, Any]) -> "list[Plugin] | str":
    """Return the lifecycles in an answer, which is untrusted."""
    try:
        found = [
            Plugin(
                name=str(each["name"])[:MAX_NAME],
                origin=source.origin,
                source=source.wire,
                kind=str(each["class"]),
                overrides=frozenset(OVERRIDDEN) & frozenset(each["overrides"]),
                digest=source.digest,
            )
            for each in answer["lifecycles"]
        ]
    except (LookupError, TypeError) as error:
        return f"its process sent something else than its lifecycles: {error}"
    return found or "it has no lifecycle"
