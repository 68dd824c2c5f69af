"""Words hints: an advice, and a command that can be pasted because all names in it are known.

The tables of errors (`api_refusals`, `helm.errors`) write their hints in this form; whoever knows the object and the release
fills in the names. A command of which a name is unknown is left out, so that no hint has a placeholder.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from string import Formatter


@dataclass(frozen=True, slots=True)
class Names:
    """What is known about the object that an error is about, and about its release; empty where unknown."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    """Also empty for a cluster-wide object."""
    release: str = ""
    release_namespace: str = ""

    def and_those_of(self, found: re.Match[str]) -> "Names":
        """Return these names, with those that a match has in its groups of the same names."""
        groups = found.groupdict()
        return replace(self, **{each.name: groups[each.name] for each in fields(self) if groups.get(each.name)})


@dataclass(frozen=True, slots=True)
class Hint:
    """An advice, and the command that goes with it.

    `advice` is a sentence without its full stop. `command` is a format text over the fields of `Names`, in which `{at}` is the
    flag of the object's namespace with a space behind it, or nothing for a cluster-wide object.
    """

    advice: str
    command: str = ""

    def with_names(self, names: Names) -> str:
        """Return the hint as a person reads it: with its command if all names in it are known."""
        known = {each.name: getattr(names, each.name) for each in fields(names)}
        known["kind"] = names.kind.lower()  # as kubectl has it
        needed = {name for _, name, _, _ in Formatter().parse(self.command) if name and name != "at"}
        if not self.command or not all(known[name] for name in needed):
            return f"{self.advice}."
        at = f"-n {names.namespace} " if names.namespace else ""
        return f"{self.advice}: {self.command.format(**known, at=at)}"


Advice = str | Hint | Callable[[re.Match[str]], str | Hint | None] | None
"""A hint in a table: a finished text, one that needs names, or a function of the match."""


def worded(advice: Advice, found: re.Match[str], names: Names) -> str | None:
    """Return a hint of a table as a person reads it."""
    if callable(advice):
        advice = advice(found)
    return advice.with_names(names.and_those_of(found)) if isinstance(advice, Hint) else advice
