"""Masks secrets in texts: those that it was given, in whatever form a text has them, and whatever looks like a credential.

Redacting a text twice changes nothing more.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from managedchart_operator.redaction.control_characters import printable
from managedchart_operator.redaction.needles import Needles, TooMuchError
from managedchart_operator.redaction.patterns import MASK, mask_credentials
from managedchart_operator.redaction.views import Folded, Span, View, fold, views
from managedchart_operator.redaction.words import MIN_SECRET_LENGTH

__all__ = ["MIN_SECRET_LENGTH", "Redactor", "redact_part"]

CUT = "…"
"""Alone on a line or at the end, it says that something was cut out, so a part of a secret may be before or after it."""
_CUT = re.compile(rf"(?:^|(?<=\n)){CUT}(?=\n|\Z)|{CUT}\Z")
# A text is cut out of once or twice; more marks were written by somebody who wants to keep the operator busy.
_MOST_CUTS = 16
# What may stand before it: its line break, a part of a character, and a part of an escaped one, such as the first bytes of a
# character of UTF-8 in a URL.
_TORN_AT_END = re.compile(
    r"(?:\\{1,8}u[dD][89abAB][0-9a-fA-F]{2}|%[c-fC-F][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){0,2})?"
    r"(?:\\{1,8}(?:[uU][0-9a-fA-F]{0,7}|x[0-9a-fA-F]?)?|%[0-9a-fA-F]?)?\ufffd{0,3}\n?\Z"
)
# As long as any piece of a secret whose characters are all escaped.
_EDGE = 4096
_REST_OF_BASE64 = re.compile(r"[A-Za-z0-9+/_-]?=*")
WITHHELD = f"{MASK} (withheld: the release has more secrets than can be found in this text)"
"""In the place of a text that cannot be redacted within bounds. Nothing that a chart should need leads to it."""


class Redactor:
    """Masks the given secrets and whatever looks like a credential."""

    def __init__(self, secrets: Iterable[str] = (), *, own: Iterable[str] = ()) -> None:
        """Prepare for these secrets; thousands take some 0.1 s.

        `own` are the names of the release, its namespace, its chart and its objects. They are not masked, nor is a secret
        that is a part of them, there.
        """
        names = {fold(name) for name in own}
        values = {secret for secret in secrets if secret != MASK and fold(secret) not in names}
        try:
            self._needles: Needles | None = Needles(values)
            self._names = Needles(names, encoded=False)
        except TooMuchError:
            self._needles = None

    def __call__(self, text: str) -> str:
        """Return the text without secrets, and without control characters, which may be amidst a secret."""
        text = printable(text)
        try:
            if self._needles is None:
                raise TooMuchError
            if self._needles:
                text = _masked(text, self._spans(text, self._needles))
        except TooMuchError:
            return text if text == WITHHELD else WITHHELD
        return mask_credentials(text)

    def _spans(self, text: str, needles: Needles) -> Iterator[Span]:
        names: _Cover | None = None
        for view in views(text):
            for found, encoded in needles.find(view.text):
                start, end = view.origin(found)
                if names is None:
                    names = _Cover(self._names_in(text))
                rest = _REST_OF_BASE64.match(text, end) if encoded else None
                if not names.covers((start, end)):
                    yield start, rest.end() if rest else end
        for cut in [cut.span() for cut in _CUT.finditer(text)][:_MOST_CUTS]:
            skipped = max(0, cut[0] - _EDGE)
            before, after = _TORN_AT_END.sub("", text[skipped : cut[0]]), text[cut[1] :].lstrip("\n\ufffd")
            yield from _moved(_first(before, needles.end_in), skipped)
            yield from _moved(_first(after[:_EDGE], needles.begin_in), len(text) - len(after))

    def _names_in(self, text: str) -> Iterator[Span]:
        view = Folded(View(text))
        return (view.origin(found) for found, _ in self._names.find(view.text))


class _Cover:
    """Parts of a text."""

    def __init__(self, spans: Iterable[Span]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._ends = list(accumulate((end for _, end in ordered), max))

    def covers(self, span: Span) -> bool:
        """Whether a span is in one of the parts."""
        place = bisect_right(self._starts, span[0])
        return place > 0 and self._ends[place - 1] >= span[1]


def _first(text: str, find: Callable[[str], Span | None]) -> Iterator[Span]:
    """Yield what `find` finds in each view of a text."""
    for view in views(text):
        if found := find(view.text):
            yield view.origin(found)


def _moved(spans: Iterable[Span], by: int) -> Iterator[Span]:
    return ((start + by, end + by) for start, end in spans)


def _masked(text: str, spans: Iterable[Span]) -> str:
    parts: list[str] = []
    done = 0
    for start, end in _merged(spans):
        parts += (text[done:start], MASK)
        done = end
    return "".join((*parts, text[done:])) if parts else text


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Join the spans that overlap or touch each other."""
    begin = finish = -1
    for start, end in sorted(spans):
        if start > finish:
            if finish >= 0:
                yield begin, finish
            begin, finish = start, end
        finish = max(finish, end)
    if finish >= 0:
        yield begin, finish


def redact_part(redact: Callable[[str], str], text: str, *, begins: bool, ends: bool) -> str:
    """Redact a part of a longer text, at whose edges a part of a secret may be.

    `begins` and `ends` say whether the text begins and ends where the longer one does.
    """
    first, last = "" if begins else f"{CUT}\n", "" if ends else f"\n{CUT}"
    return redact(f"{first}{text}{last}").removeprefix(first).removesuffix(last)
