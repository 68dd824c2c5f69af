"""Secrets, the forms in which texts have them, and what must not be left of them."""

import base64
import json
import string
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st

from managedchart_operator.redaction.views import fold
from managedchart_operator.redaction.words import is_common

FRAGMENT = 6
"""So many characters of a secret are never left."""


def of_go(text: str) -> str:
    """A text as Go prints it by %q."""
    escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escaped.get(each, each) for each in text) + '"'


def of_json_in_go(text: str) -> str:
    """A JSON document in an error that Go prints by %q, with the characters of HTML escaped as its encoder does it."""
    document = json.dumps({"data": text})
    for each in "<>&":
        document = document.replace(each, f"\\u{ord(each):04x}")
    return of_go(document)


def of_yaml(text: str) -> str:
    """A single-quoted YAML scalar, folded at its spaces."""
    return "'" + text.replace("'", "''").replace(" ", "\n    ") + "'"


def in_base64(text: str, *, before: str = "", wrapped: int = 0) -> str:
    """What base64 makes of it behind something else, wrapped in lines."""
    encoded = base64.b64encode((before + text).encode()).decode()
    return "\n".join(textwrap.wrap(encoded, wrapped)) if wrapped else encoded


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "go": of_go,
    "json": lambda text: json.dumps(text, ensure_ascii=False),
    "json, ASCII": json.dumps,
    "json in go": of_json_in_go,
    "yaml": of_yaml,
    "one line": lambda text: " ".join(text.split()),
    "url": lambda text: quote(text, safe=""),
    "query": quote_plus,
    "base64": in_base64,
    "base64 without padding": lambda text: in_base64(text).rstrip("="),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 behind 1": lambda text: in_base64(text, before="u"),
    "base64 behind 2": lambda text: in_base64(text, before="u:"),
    "base64 in lines": lambda text: in_base64(text, before="user:", wrapped=16),
}
ALPHABET = string.ascii_letters + string.digits + "/+_-!.$%\"'\\<>&=: \n\té世😀"


def _is_secret(text: str) -> bool:
    return len(fold(text)) >= FRAGMENT and not is_common(text.strip()) and not is_common(fold(text))


SECRETS = st.text(ALPHABET, min_size=FRAGMENT, max_size=40).filter(_is_secret)
TEXTS = st.text(string.printable, max_size=60)
WORDS = st.lists(st.sampled_from(["the", "pod", "of", "web", "is", "not", "ready,", "and", "waits;"]), max_size=9).map(
    " ".join
)
"""What cannot be a part of a secret by accident, as `TEXTS` can."""


def left_of(secret: str, text: str) -> list[str]:
    """The fragments of a secret in a text, also quoted and folded; the characters of a form count as one each."""
    found = []
    folded_text = {fold(text), fold(text.replace("\\", ""))}
    folded = fold(secret)
    for start in range(len(folded) - FRAGMENT + 1):
        part = folded[start : start + FRAGMENT]
        if len(set(part)) > 2 and any(part in each for each in folded_text):
            found.append(part)
    return found
