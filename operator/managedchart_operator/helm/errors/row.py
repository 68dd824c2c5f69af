"""Defines a row of the error table, and a match of it.

The rows are in `chart_rows` and `cluster_rows`, with the functions for messages that need more than filling in a name; their
order is in `classify`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from managedchart_operator.api_refusals import line_of
from managedchart_operator.helm.errors.text import in_hook, more, subject
from managedchart_operator.reasons import Reason

# What Go's network code reports when the other side cannot be reached.
UNREACHABLE = (
    r"connection refused|no such host|i/o timeout|TLS handshake timeout|no route to host|network is unreachable|"
    r"connection reset by peer|connection timed out|Client\.Timeout|server misbehaving|unexpected EOF|: EOF$|broken pipe|"
    r"http2: client connection lost|context deadline exceeded|temporary failure"
)
TRUST = "Use a certificate signed by an authority that the operator's pod trusts, or add that authority there (SSL_CERT_FILE)."


@dataclass(frozen=True, slots=True)
class Match:
    """A match of a row's pattern, and what the text is about."""

    found: re.Match[str]
    subject: str
    """The object, like `Deployment apps/web`."""
    hook: str
    """The hook that it comes from, as the beginning of a sentence; "" for none."""
    more: str
    """How many further objects were refused, as the end of a sentence; "" for none."""

    @classmethod
    def read(cls, found: re.Match[str]) -> Self:
        """Find in helm's text what it is about."""
        line = line_of(found)
        return cls(found, subject(line), in_hook(line), more(found.string))

    def __getitem__(self, group: str | int) -> str | Any:
        return self.found[group]

    @property
    def groups(self) -> dict[str, str]:
        """The named groups of the pattern, empty where the text has none."""
        return self.found.groupdict(default="")

    @property
    def string(self) -> str:
        """The whole text."""
        return self.found.string

    @property
    def line(self) -> str:
        """The line of the text in which the match begins."""
        return line_of(self.found)


@dataclass(frozen=True, slots=True)
class Row:
    """A pattern of helm's text, and what it means. `commands` restricts the row to these helm commands; empty means all."""

    pattern: re.Pattern[str]
    reason: Reason
    transient: bool
    message: Callable[[Match], str]
    hint: str | None = None
    commands: tuple[str, ...] = ()


def row(
    pattern: str,
    reason: Reason,
    message: str | Callable[[Match], str],
    *,
    transient: bool = False,
    hint: str | None = None,
    commands: tuple[str, ...] = (),
) -> Row:
    """Make a row; `message` may be a text with the pattern's named groups in braces."""
    compiled = re.compile(pattern, re.DOTALL | re.MULTILINE)
    sentence = message if callable(message) else lambda found: message.format(**found.groups)
    return Row(compiled, reason, transient, sentence, hint, commands)
