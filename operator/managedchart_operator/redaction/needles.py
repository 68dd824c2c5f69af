"""What is looked for in a folded text: secrets, their lines and pieces, and their base64; and where it is found.

Thousands of secrets are looked for at once: each place of the text costs one look-up of the first characters there, whatever
their number, and where those begin a secret, one more for each length that such a secret has.
"""

import base64
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from managedchart_operator.redaction.views import Span, fold
from managedchart_operator.redaction.words import MIN_SECRET_LENGTH, is_common

# A longer secret is looked for in pieces, so that a text may have any part of it.
_PIECE = 256
# Pieces of base64 lose a character at each end, which the overlap covers.
_OVERLAP = 8
# Of a multi-line secret, such as a file, shorter lines may be anything.
_MIN_LINE = 8
# At the edge of a text that was cut, this much of a secret's beginning or end is taken for the secret: shorter parts are in
# too many words, and tell little.
_MIN_PART = 4
# Before it, the rest of an escaped character like "\\u003c" may be left, which says where to look less exactly.
_TORN, _MIN_PART_AFTER_TORN = 6, 6
# A Secret has at most 1 MiB, a release 1 MiB compressed; beyond this memory and time would be a means of attack.
MAX_CHARACTERS = 2 * 1024 * 1024
MAX_SECRETS = 20_000
# Each takes some 0.25 µs. Only a text that was made for it needs more.
_MAX_STEPS = 400_000
_LONGEST = (_PIECE + _OVERLAP) * 4 // 3 + 4
# Takes 5 ms.
_SORTED_AT_ONCE = 10_000
_ENTRY = re.compile(r"[\"']?[\w.-]+[\"']?\s*[:=]\s*(.*)", re.DOTALL)


class TooMuchError(Exception):
    """There is more to look for, or to look at, than is allowed."""


class Needles:
    """What is looked for."""

    def __init__(self, secrets: Iterable[str], *, encoded: bool = True) -> None:
        """Prepare the search, also for what base64 makes of the secrets. Takes 30 µs a secret. Raises TooMuchError."""
        # One by one: operations on whole sets of this size would hold up all other threads.
        self._all: dict[str, bool] = {}
        """Everything that is looked for, and whether it is base64 only."""
        characters = 0
        for number, secret in enumerate(secrets):
            characters += len(secret)
            if characters > MAX_CHARACTERS or number >= MAX_SECRETS:
                raise TooMuchError
            for needle in _plain(secret):
                self._all[needle] = False
            for needle in _base64(secret) if encoded else ():
                self._all.setdefault(needle, True)
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for needle in self._all:
            lengths[needle[:MIN_SECRET_LENGTH]].add(len(needle))
        self._lengths = {head: sorted(each, reverse=True) for head, each in lengths.items()}
        """How long the needles are that begin with some characters, the longest first."""
        self._sorted: list[str] = []
        self._backwards: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def find(self, text: str) -> Iterator[tuple[Span, bool]]:
        """Yield the longest secret at each place of a folded text, and whether it is base64. Raises TooMuchError."""
        head, lengths = MIN_SECRET_LENGTH, self._lengths
        steps = 0
        for start in [at for at in range(len(text) - head + 1) if text[at : at + head] in lengths]:
            for length in lengths[text[start : start + head]]:
                steps += 1
                if (part := text[start : start + length]) in self._all:
                    yield (start, start + len(part)), self._all[part]
                    break
            if steps > _MAX_STEPS:
                raise TooMuchError

    def end_in(self, text: str) -> Span | None:
        """Return the end of a folded text if it is the beginning of a secret."""
        self._sorted = self._sorted or _in_order(self._all)
        for start in range(max(0, len(text) - _LONGEST), len(text) - _MIN_PART + 1):
            if _begins_any(self._sorted, text[start:]):
                return start, len(text)
        return None

    def begin_in(self, text: str) -> Span | None:
        """Return the beginning of a folded text if it is the end of a secret, maybe after a part of an escaped character."""
        self._backwards = self._backwards or _in_order(needle[::-1] for needle in self._all)
        for torn in range(_TORN + 1):
            shortest = torn + (_MIN_PART_AFTER_TORN if torn else _MIN_PART)
            for end in range(min(len(text), torn + _LONGEST), shortest - 1, -1):
                if _begins_any(self._backwards, text[torn:end][::-1]):
                    return 0, end
        return None


def _in_order(texts: Iterable[str]) -> list[str]:
    """Sort texts as `sorted` does, in steps between which other threads can run."""
    left = iter(texts)
    parts = iter(lambda: sorted(islice(left, _SORTED_AT_ONCE)), [])
    return list(merge(*parts))


def _begins_any(texts: Sequence[str], part: str) -> bool:
    """Whether one of the sorted texts begins with a part."""
    place = bisect_left(texts, part)
    return place < len(texts) and texts[place].startswith(part)


def _plain(secret: str) -> Iterator[str]:
    """Yield a secret and its telling lines, folded and in pieces."""
    yield from _pieces(secret)
    if " " in secret.strip():
        yield from _pieces(secret.strip().replace(" ", "+"))  # as a query of a URL has it
    lines = [line for line in secret.splitlines() if line.strip()]
    if len(lines) > 1:
        for line in filter(_is_telling, lines):
            yield from _pieces(line)


def _is_telling(line: str) -> bool:
    """Whether a line of a file says something of its own: not "spec:", and not "enabled: true"."""
    text = line.strip()
    entry = _ENTRY.fullmatch(text)
    return len(text) >= _MIN_LINE and not (entry and is_common(entry[1].strip("\"' ,")))


def _pieces(text: str) -> Iterator[str]:
    folded = fold(text)
    if is_common(text.strip()) or len(folded) < MIN_SECRET_LENGTH:
        return
    for start in range(0, max(1, len(folded) - _PIECE + 1), _PIECE):
        yield folded[start : start + _PIECE]
    if len(folded) > _PIECE and len(folded) % _PIECE:
        yield folded[-_PIECE:]


def _base64(secret: str) -> Iterator[str]:
    """Yield what base64 makes of a secret, alone or at any place of a longer text."""
    if is_common(secret.strip()):
        return
    data = secret.encode(errors="surrogatepass")
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE + _OVERLAP]
        if len(piece) < MIN_SECRET_LENGTH:
            continue
        for before in range(3):
            encoded = base64.b64encode(bytes(before) + piece).decode()
            # Only the characters that no neighbour has a part in.
            core = encoded[-(-before * 8 // 6) : (before + len(piece)) * 8 // 6]
            if len(core) >= MIN_SECRET_LENGTH:
                yield core
