"""Defines a row of the error table.

The rows are in `chart_rows` and `cluster_rows`, with the functions for messages that need more than filling in a name; their
order is in `classify`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from managedchart_operator.api_refusals import Match, RefusalRow
from managedchart_operator.hints import Advice
from managedchart_operator.reasons import Reason

# What Go's network code reports when the other side cannot be reached.
UNREACHABLE = (
    r"connection refused|no such host|i/o timeout|TLS handshake timeout|no route to host|network is unreachable|"
    r"connection reset by peer|connection timed out|Client\.Timeout|server misbehaving|unexpected EOF|: EOF$|broken pipe|"
    r"http2: client connection lost|context deadline exceeded|temporary failure"
)
TRUST = "Use a certificate signed by an authority that the operator's pod trusts, or add that authority there (SSL_CERT_FILE)."


@dataclass(frozen=True, slots=True)
class Row:
    """A pattern of helm's text, and what it means. `commands` restricts the row to these helm commands; empty means all."""

    pattern: re.Pattern[str]
    reason: Reason
    transient: bool
    message: Callable[[Match], str]
    hint: Advice = None
    commands: tuple[str, ...] = ()
    refusal: RefusalRow | None = None
    """The row for the same answer of the API server to the operator's own request."""


def row(
    pattern: str,
    reason: Reason,
    message: str | Callable[[Match], str],
    *,
    transient: bool = False,
    hint: Advice = None,
    commands: tuple[str, ...] = (),
) -> Row:
    """Make a row; `message` may be a text with the pattern's named groups in braces."""
    compiled = re.compile(pattern, re.DOTALL | re.MULTILINE)
    sentence = message if callable(message) else lambda found: message.format(**found.groupdict(default=""))
    return Row(compiled, reason, transient, sentence, hint, commands)
