"""Removes from texts what changes how a terminal shows them, instead of being shown.

Whoever writes a chart or runs in a pod writes into helm's errors, Events and logs, and people read these with `kubectl` and
`less`. An escape sequence there could hide a line, or look like another one; a carriage return overwrites what is before it; an
override of the direction turns a name around.
"""

import re

_SEQUENCE = r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,1024}(?:\x07|\x1b\\)|[@-Z\\^_])?"
_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(rf"{_SEQUENCE}|\r\n?|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029{_DIRECTION}]")
_LINE_BREAKS = frozenset("\r\x0b\x0c\x85\u2028\u2029")

CONTROL_CHARACTERS = [
    *(code for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)),
    *(0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
]
"""The codes of the characters that `printable` removes or replaces, without those of an escape sequence."""


def printable(text: str) -> str:
    """Return a text without control characters, except for tabs and line breaks; other breaks of a line become such ones."""
    # Most texts have none.
    return text if text.isprintable() else _HIDDEN.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    return "\n" if found[0][0] in _LINE_BREAKS else ""
