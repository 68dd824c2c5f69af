"""Removes secrets from texts before anybody sees them.

Error texts, Events and log lines go into the status, Events and the operator's log; none of them may contain a value from a
Secret, or what looks like a credential. A known secret value is masked wherever a text has it literally or in base64; redacting
a text twice changes nothing more.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
# Shorter values are words like "admin" or "true"; masking them would make texts unreadable and hide nothing.
MIN_SECRET_LENGTH = 5
_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api[-_]?key|credential|private[-_]?key|auth$", re.IGNORECASE
)
# Keys that hold the name of a Secret, like secretKeyRef.name: the message about a missing Secret must name it.
_SECRET_NAME_KEY = re.compile(r"secret(key)?(ref|name|selector)s?$|^existing\w*secret$|pullsecrets?$", re.IGNORECASE)
_KEYS = r"pass(?:word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|credentials?|client[-_]?secret"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PEM blocks of any private key
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), MASK),
    # credentials before the host of a URL
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+@", re.IGNORECASE), rf"\1{MASK}@"),
    # Authorization headers, bearer and basic tokens
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    # JSON web tokens
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]*)?"), MASK),
    # key=value, key: value and "key": "value" where the key names a secret; not the kind in "Kind=Secret: …"
    (
        re.compile(
            rf"""((?<!=)["']?\b[\w.-]*(?:{_KEYS})["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)""", re.IGNORECASE
        ),
        rf"\1{MASK}",
    ),
    # keys of a well-known form: AWS, GitHub, Slack, Google
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{30,}"), MASK),
    # Docker Hub's rate-limit text names the account and its token (seen by users of kubedog)
    (re.compile(r"(toomanyrequests: )[^\n]*", re.IGNORECASE), r"\1the registry's pull rate limit is reached"),
)


class Redactor:
    """Masks the given secret values and whatever looks like a credential."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        values = {value for value in secrets if len(value) >= MIN_SECRET_LENGTH and value != MASK}
        encoded = {base64.b64encode(value.encode()).decode() for value in values}
        # Longest first: one secret may be a part of another.
        ordered = sorted(values | encoded, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        if self._values:
            text = self._values.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def secrets_in_values(*sources: Mapping[str, Any]) -> set[str]:
    """Return the texts under keys that name a secret (password, token…), at any level of the sources of a chart's values."""
    return {text for values in sources for key, value in values.items() for text in _under(key, value, secret=False)}


def _under(key: str, value: Any, *, secret: bool) -> Iterable[str]:
    secret = not _SECRET_NAME_KEY.search(key) and (secret or bool(_SECRET_KEY.search(key)))
    if isinstance(value, Mapping):
        for inner_key, inner in value.items():
            yield from _under(inner_key, inner, secret=secret)
    elif isinstance(value, list):
        for inner in value:
            yield from _under("", inner, secret=secret)
    elif secret and isinstance(value, str):
        yield value
        yield from (line for line in value.splitlines() if line != value)


def secrets_in_manifest(objects: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the values of all rendered Secrets, decoded."""
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
    return found | {line for value in found for line in value.splitlines()}


def _values(mapping: Any) -> Iterable[Any]:
    """Return the values of a mapping. A chart may render anything else there; the API server refuses it."""
    return mapping.values() if isinstance(mapping, Mapping) else ()
