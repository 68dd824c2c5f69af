"""A text as it would look without the quoting and folding that programs add to it, with the way back to the text itself.

A secret with special characters looks different in each text: Go and JSON write it with backslashes, YAML folds it over lines
and doubles its quotes, URLs have percent signs, base64 is wrapped and has two alphabets. So not the forms of each secret
are looked for, but each secret in each view of the text, where all forms are the same.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import compress

from managedchart_operator.redaction.control_characters import CONTROL_CHARACTERS

Span = tuple[int, int]
"""The first character and the one after the last."""
_Piece = tuple[str, int]
"""A character of the view, and how many characters of the text it stands for."""

_GONE = "\0"
# With the characters that `printable` leaves out of the text.
_WHITE_SPACE = dict.fromkeys([*CONTROL_CHARACTERS, *(code for code in range(0x3001) if chr(code).isspace())], _GONE)
_QUOTES = re.compile(r"'(?:\s*')+")
# To Go's and JSON's escapes; a backslash before a line break is YAML's, which folds there.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|\n\s*|.)",
    re.DOTALL,
)
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
# The alphabet of base64 in URLs becomes the standard one.
_ALPHABET = str.maketrans("-_", "+/")
# A secret in JSON in a quoted text has two levels of backslashes. Helm quotes no deeper (4.3.1).
_LEVELS = 2


class View:
    """A text in another form. The way back is only prepared when it is needed, since most texts have no secrets."""

    def __init__(self, text: str, parent: "View | None" = None) -> None:
        self.text = text
        self._parent = parent

    def origin(self, span: Span) -> Span:
        """Return the part of the original text that a part of the view, not an empty one, stands for."""
        return span if self._parent is None else self._parent.origin(self._before(span))

    def _before(self, span: Span) -> Span:
        """Return the part of the parent."""
        return span


class Folded(View):
    """A view as `fold` makes it."""

    def __init__(self, parent: View) -> None:
        super().__init__(fold(parent.text), parent)
        self._source = parent.text
        self._places: list[int] = []

    def _before(self, span: Span) -> Span:
        if not self._places:
            kept = _marked(self._source).encode("ascii", errors="replace")
            self._places = list(compress(range(len(kept)), kept))
        return self._places[span[0]], self._places[span[1] - 1] + 1


class Decoded(View):
    """A view in which each match of a pattern is replaced by the characters that it stands for."""

    def __init__(self, parent: View, pattern: re.Pattern[str], decode: Callable[[str], list[_Piece]]) -> None:
        super().__init__(pattern.sub(lambda found: "".join(each for each, _ in decode(found[0])), parent.text), parent)
        self._source, self._pattern, self._decode = parent.text, pattern, decode
        self._pieces: list[tuple[int, int, int]] = []
        """Where each piece begins here and in the parent, and how long a decoded character was; 0 for an unchanged part."""

    def _before(self, span: Span) -> Span:
        if not self._pieces:
            self._pieces = list(self._trace())
        here, there, width = self._piece(span[0])
        start = there if width else there + span[0] - here
        here, there, width = self._piece(span[1] - 1)
        return start, there + (width or span[1] - here)

    def _piece(self, place: int) -> tuple[int, int, int]:
        return self._pieces[bisect_right(self._pieces, place, key=lambda piece: piece[0]) - 1]

    def _trace(self) -> Iterator[tuple[int, int, int]]:
        length = done = 0
        for match in self._pattern.finditer(self._source):
            at = match.start()
            if at > done:
                yield length, done, 0
                length += at - done
            for character, width in self._decode(match[0]):
                yield length, at, width
                length, at = length + len(character), at + width
            done = match.end()
        yield length, done, 0


def fold(text: str) -> str:
    """Return a text without white space, repeated single quotes and base64's second alphabet."""
    return _marked(text).replace(_GONE, "").translate(_ALPHABET)


def _marked(text: str) -> str:
    """Return a text in which a mark stands for each character that `fold` leaves out."""
    if "'" in text:
        text = _QUOTES.sub(lambda found: "'" + _GONE * (len(found[0]) - 1), text)
    return text.translate(_WHITE_SPACE)


def views(text: str) -> Iterator[View]:
    """Yield the text folded, and the same without one or two levels of backslashes, and without percent signs."""
    view = View(text)
    yield Folded(view)
    if "%" in text and _PERCENT.search(text):
        yield Folded(Decoded(view, _PERCENT, _of_percent))
    for _ in range(_LEVELS):
        if "\\" not in view.text:
            return
        view = Decoded(view, _ESCAPE, _of_escape)
        yield Folded(view)


def _of_escape(escape: str) -> list[_Piece]:
    kind = escape[1]
    if kind in "uUx" and len(escape) > 2:
        if len(escape) == 12:  # half of a character each
            high, low = int(escape[2:6], 16), int(escape[8:], 16)
            code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
        else:
            digits = escape[2:]
            code = int(digits, 16)
        return [(chr(code) if code < 0x110000 else "\ufffd", len(escape))]
    if kind == "\n":
        return []
    return [(_CONTROL.get(kind, kind), len(escape))]


def _of_percent(run: str) -> list[_Piece]:
    text = bytes.fromhex(run.replace("%", "")).decode(errors="surrogateescape")
    return [(character, 3 * len(character.encode(errors="surrogateescape"))) for character in text]
