"""Shortens texts to a maximum length; an ellipsis marks every cut."""

import re
from collections.abc import Iterable

_LISTED = 5
# The first refusals and the cause at the end are within so much of helm's text; 99 of 100 texts are shorter.
_SEARCHED = 8 * 1024
# The longest that a message has to show whole are addresses of charts and names of images.
_WORD = 512
_LONG_WORD = re.compile(r"(?<!\S)\S{513,}+")
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


def searchable(text: str) -> str:
    """Return what patterns may search of a text that others wrote: its first and last lines, with long words shortened.

    A pattern begins at each place of the text where it can, and looks on from there; and while it searches, no other thread
    runs. So both the length of the text and that of its words are bounded before any pattern sees it.
    """
    text = _LONG_WORD.sub(lambda found: cut_word(found[0]), text)
    if len(text) <= _SEARCHED:
        return text
    head = text[: _SEARCHED // 3]
    tail = text[-(_SEARCHED - len(head) - len(CUT_OUT)) :]
    # Whole lines, except where a line is longer than all that is kept.
    head = head[: head.rfind("\n") if "\n" in head else len(head)]
    return head + CUT_OUT + tail[tail.find("\n") + 1 if "\n" in tail[:-1] else 0 :]


def cut_word(word: str) -> str:
    """Cut out the middle of a word that is too long to be searched."""
    head = _WORD * 2 // 3
    return word if len(word) <= _WORD else f"{word[:head]}…{word[head + 1 - _WORD :]}"


def listed(items: Iterable[str]) -> str:
    """Join the first few items and count the others."""
    known = list(items)
    others = len(known) - _LISTED
    return "; ".join(known[:_LISTED]) + (f"; and {others} more" if others > 0 else "")
