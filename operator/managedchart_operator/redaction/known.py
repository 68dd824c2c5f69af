"""Finds the secrets of a release: in its values by the names of their keys, and in the Secrets that it renders."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api[-_]?key|credential|private[-_]?key|auth$", re.IGNORECASE
)
# Keys that hold the name of a Secret, like secretKeyRef.name: the message about a missing Secret must name it.
_SECRET_NAME_KEY = re.compile(r"secret(key)?(ref|name|selector)s?$|^existing\w*secret$|pullsecrets?$", re.IGNORECASE)
# Files in Secrets have more lines than this only when they are data.
_MOST_ENTRIES = 2000
_ENTRY = re.compile(r"^[ \t]*(?:- |export )?[\"']?([\w.-]{1,100})[\"']?[ \t]*[:=][ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)
# A document of this size takes 15 ms, in which no other thread runs (measured).
_LARGEST_JSON = 64 * 1024


def secrets_in_values(*sources: Mapping[str, Any]) -> set[str]:
    """Return the texts under keys that name a secret (password, token…), at any level of the sources of a chart's values."""
    return {text for values in sources for key, value in values.items() for text in _under(key, value, secret=False)}


def _under(key: str, value: Any, *, secret: bool) -> Iterator[str]:
    secret = not _SECRET_NAME_KEY.search(key) and (secret or bool(_SECRET_KEY.search(key)))
    if isinstance(value, Mapping):
        for inner_key, inner in value.items():
            yield from _under(str(inner_key), inner, secret=secret)
    elif isinstance(value, list):
        for inner in value:
            yield from _under("", inner, secret=secret)
    elif secret and isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def secrets_in_manifest(objects: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the values of all rendered Secrets, decoded, and the passwords in those that are files."""
    found: set[str] = set()
    for item in objects:
        if item.get("kind") != "Secret":
            continue
        found.update(map(str, _values(item.get("stringData"))))
        for value in _values(item.get("data")):
            try:
                found.add(base64.b64decode(str(value)).decode())
            except ValueError:
                found.add(str(value))
    for text in list(found):
        found |= _inside(text)
    return found


def _inside(text: str) -> set[str]:
    """Return the secrets in a file: a JSON document such as a .dockerconfigjson, or lines like `password: …`."""
    if text.lstrip().startswith("{") and len(text) <= _LARGEST_JSON:
        try:
            return secrets_in_values(json.loads(text))
        except (ValueError, RecursionError):
            return set()
    if "\n" not in text.strip():
        return set()
    entries = [found.groups() for found in islice(_ENTRY.finditer(text), _MOST_ENTRIES)]
    return {_unquoted(value) for key, value in entries if list(_under(key, value, secret=False))}


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _values(mapping: Any) -> Iterable[Any]:
    """Return the values of a mapping. A chart may render anything else there; the API server refuses it."""
    return mapping.values() if isinstance(mapping, Mapping) else ()
