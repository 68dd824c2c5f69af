"""Shortens texts to a maximum length; an ellipsis marks every cut."""

from collections.abc import Iterable

_LISTED = 5
CUT_OUT = "\n…\n"
"""Stands for what was cut out of the middle. `redaction` looks for a part of a secret on both sides of it."""


def cut(text: str, limit: int) -> str:
    """Return the first `limit` characters at most."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int) -> str:
    """Return the text in one line of at most `limit` characters."""
    return cut(" ".join(text.split()), limit)


def cut_middle(text: str, limit: int) -> str:
    """Cut out the middle: an error begins with what was done, and ends with why it failed."""
    if len(text) <= limit:
        return text
    tail = (limit - len(CUT_OUT)) * 2 // 3
    return text[: limit - len(CUT_OUT) - tail] + CUT_OUT + text[-tail:]


def listed(items: Iterable[str]) -> str:
    """Join the first few items and count the others."""
    known = list(items)
    others = len(known) - _LISTED
    return "; ".join(known[:_LISTED]) + (f"; and {others} more" if others > 0 else "")
