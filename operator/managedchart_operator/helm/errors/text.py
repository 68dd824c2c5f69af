"""Reads helm's error text: the object that it is about, and the parts that a person needs.

Text in, text out; `classify` decides the reason. Nothing here fails on an unknown text.
"""

import json
import re
from itertools import groupby

from managedchart_operator.api_refusals import named_in
from managedchart_operator.errors import UNREADABLE
from managedchart_operator.helm.errors.foreign import SCHEMA_ERROR, without_foreign_content
from managedchart_operator.hints import Names

# helm's text is stored in the status next to the message: long enough for a list of many unready objects.
MAX_TEXT = 4096
MAX_MESSAGE = 1024

_LOG_LINE = re.compile(r"^(time=\S+ )?level=[A-Z]+[+-]?\d* |^[IWEF]\d{4} \d\d:\d\d:\d\d|^WARNING: ")
_FAILED_PREFIX = re.compile(r"^(UPGRADE|INSTALLATION|ROLLBACK) FAILED: ")
# The error is only "failed to delete release"; helm logs the cause.
_LOGGED_CAUSE = re.compile(r'msg="uninstall: Failed to delete release" error=("(?:[^"\\]|\\.)*")')

_REFUSED_OBJECT = r"(?:server-side apply failed|conflict occurred while|cannot patch|failed to )"
# An install writes the refused objects on a line each, an upgrade all on one.
_NEXT_OBJECT = re.compile(rf" && (?={_REFUSED_OBJECT})")

_REFUSAL = "- at '"
_UNKNOWN_NAMES = re.compile(r"(?<=: additional properties )'.*'(?= not allowed$)")

_SUBJECTS = (
    # server-side apply
    re.compile(r"(?:for|applying) object (?P<namespace>[^\s/]*)/(?P<name>\S+) \S+, Kind=(?P<kind>\w+)"),
    # ownership and look-ups
    re.compile(r'\b(?P<kind>\w+) "(?P<name>[^"]*)" in namespace "(?P<namespace>[^"]*)"'),
    # an object of an unknown kind
    re.compile(r'for name: "(?P<name>[^"]*)" namespace: "(?P<namespace>[^"]*)" from'),
    # client-side apply
    re.compile(r'cannot patch "(?P<name>[^"]*)" with kind (?P<kind>\w+)'),
)
_HOOK = re.compile(r"Hook (?P<phase>[\w-]+) (?P<file>\S+) failed: ")


def error_part(text: str) -> str:
    """Return the error in helm's text, one refused object a line.

    It is without log lines, stack traces, the prefix `Error:` and what foreign servers have answered.
    """
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith("Error: ")), 0)
    kept = "\n".join(line for line in lines[begin:] if not _LOG_LINE.match(line)).strip()
    kept = without_foreign_content(_FAILED_PREFIX.sub("", kept.removeprefix("Error: ")))
    kept = _NEXT_OBJECT.sub("\n", kept)
    causes = _LOGGED_CAUSE.findall(text)
    if kept.startswith("failed to delete release") and causes:
        return f"{kept}: {_unquoted(causes[-1])}"
    return kept


def in_order(text: str) -> str:
    """Sort what a chart's schema refuses, chart by chart.

    helm iterates over maps, whose order Go changes each time, so the same error would look different (seen with 4.3.1).
    """
    if SCHEMA_ERROR not in text:
        return text
    ordered: list[str] = []
    for refusals, lines in groupby(text.splitlines(), key=lambda line: line.lstrip().startswith(_REFUSAL)):
        block = [_UNKNOWN_NAMES.sub(lambda found: ", ".join(sorted(found[0].split(", "))), line) for line in lines]
        ordered += _sorted_refusals(block) if refusals else block
    return "\n".join(ordered)


def _sorted_refusals(lines: list[str]) -> list[str]:
    """Sort lines; those that are indented more stay below the line that they explain, and are sorted among themselves."""
    chains: list[list[str]] = []
    chain: list[str] = []
    for line in lines:
        chain = [*(above for above in chain if _indent(above) < _indent(line)), line]
        chains.append(chain)
    return [chain[-1] for chain in sorted(chains)]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def subject(text: str) -> str:
    """Name the object that a text is about, like `Deployment apps/web`; "an object" if it names none."""
    names = names_in(text)
    if not names.name:
        return named_in(text)
    where = f"{names.namespace}/{names.name}" if names.namespace else names.name
    return f"{names.kind or 'the object'} {where}"


def names_in(text: str) -> Names:
    """Return the names of the object that a text is about, as far as it has them."""
    for pattern in _SUBJECTS:
        if found := pattern.search(text):
            return Names().and_those_of(found)
    return Names()


def in_hook(text: str) -> str:
    """Name the hook that a text comes from, as the beginning of a sentence; "" for none."""
    found = _HOOK.search(text)
    return f"{found['phase'].capitalize()} hook {found['file']}: " if found else ""


def more(text: str) -> str:
    """Say how many more objects were refused, each on a line of helm's text; "" for none."""
    return more_refused(len(re.findall(rf"^{_REFUSED_OBJECT}", text, re.MULTILINE)) - 1)


def more_refused(count: int) -> str:
    """Say that so many more objects were refused, as the end of a sentence; "" for none."""
    return f" ({count} more refused; see helmError)" if count > 0 else ""


def _unquoted(quoted: str) -> str:
    try:
        return str(json.loads(quoted)).strip("[]")
    except UNREADABLE:
        return quoted.strip('"[]')
