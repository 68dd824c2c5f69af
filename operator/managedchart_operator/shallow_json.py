"""Reads JSON of the API server, of which nothing deeper than `READ_LEVELS` and no more than `READ_CONTAINERS` is ever built.

What is nested deeper is read as null; `nesting` says why nothing is lost by that. A megabyte of brackets takes forty times its
memory and half a second to build, so the lists and mappings of one object beyond the limit are not built either. The first of
them is read as a list that is too long for the values of a spec, so that a spec of which something was cut off is refused.
"""

import asyncio
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import from_json

from managedchart_operator.nesting import READ_CONTAINERS, READ_LEVELS, TOO_MANY_VALUES

# A JSON string, or a character that opens or closes a level. An unterminated string matches up to the end, so that each byte
# is scanned once.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_QUOTE, _OPENING = ord('"'), frozenset(b"[{")
# The spec of an object alone is below level 2, in a watch event below 3, in a page below 4; what is counted begins there.
_OUTER_LEVELS = 3
_NULL = b"null"
_LONG_LIST = b"[" + b"0," * TOO_MANY_VALUES + b"0]"


async def read_json(text: bytes) -> Any:
    """Return the value of a JSON text, without what is too deep or too much.

    Raises ValueError for a text that is not JSON. Usually faster than json.loads; cutting runs in a thread, since it takes 0.1
    s a megabyte.
    """
    if _may_have_too_many(text):
        text = await asyncio.to_thread(_cut, text)
    try:
        return _read(text)
    except ValueError:
        return await asyncio.to_thread(lambda: _read(_cut(text)))


async def shallow_json(text: bytes) -> bytes:
    """Return a JSON text without what is too deep or too much, for another parser.

    Raises ValueError for a text that is not JSON.
    """
    if _may_have_too_many(text):
        text = await asyncio.to_thread(_cut, text)
    try:
        _read(text)
    except ValueError:
        text = await asyncio.to_thread(_cut, text)
        _read(text)
    return text


def _read(text: bytes) -> Any:
    with uncollected():
        return from_json(text)


@contextmanager
def uncollected() -> Iterator[None]:
    """Build many objects without a search for unused ones in between.

    There are none, and the search takes four fifths of the time: 0.2 s for half a million lists, which 1.4 MB of JSON can have.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _may_have_too_many(text: bytes) -> bool:
    """Whether it may have more lists and mappings than are built of one object; brackets in strings count here."""
    return text.count(b"[") + text.count(b"{") > READ_CONTAINERS


def _cut(text: bytes) -> bytes:
    kept: list[bytes] = []
    level = start = outer = inner = 0
    cut_from, instead = 0, _NULL
    """The level of what is being cut off, 0 for nothing, and what is put in its place."""
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first == _QUOTE:
            continue
        if first in _OPENING:
            level += 1
            if cut_from:
                continue
            if level <= _OUTER_LEVELS:
                outer, inner = outer + 1, 0
            else:
                inner += 1
            if level > READ_LEVELS or outer > READ_CONTAINERS or inner > READ_CONTAINERS:
                kept.append(text[start : token.start()])
                # One such list is enough for each object.
                cut_from, instead = level, _LONG_LIST if inner == READ_CONTAINERS + 1 else _NULL
        else:
            if level == cut_from:
                kept.append(instead)
                start, cut_from = token.end(), 0
            level -= 1
    return b"".join([*kept, text[start:]])
