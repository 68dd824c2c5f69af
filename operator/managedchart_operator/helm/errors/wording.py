"""The sentences of the error table that take more than filling in a name.

Boundary: each takes a match of its row and gives one sentence; which row that is, and what it means, stands in
`classify`. Invariant: a part that the text does not hold is left out, never told as None.
"""

import re
from collections.abc import Callable

from managedchart_operator.helm.errors.text import field_errors, in_hook, listed, more, subject, unready
from managedchart_operator.shortening import one_line

Match = re.Match[str]

_FIELD_PATH = re.compile(r"[.][^\s,]+")


def line_of(found: Match) -> str:
    """The line of the text in which the match begins."""
    text, start = found.string, found.start()
    return text[text.rfind("\n", 0, start) + 1 :].split("\n", 1)[0]


def about(sentence: str) -> Callable[[Match], str]:
    """Make a sentence about the object of the matched line: `{it}`, beside the named groups."""

    def message(found: Match) -> str:
        line = line_of(found)
        told = sentence.format(it=subject(line), **found.groupdict(default=""))
        return in_hook(line) + told + more(found.string)

    return message


def fields(found: Match) -> str:
    """The object, and the fields of it that were refused."""
    line = line_of(found)
    return f"{in_hook(line)}{subject(line)}: {field_errors(line)}{more(found.string)}"


def conflict(found: Match) -> str:
    """Which field managers own which of the chart's fields."""
    conflicts = re.findall(r'conflicts? with "([^"]+)"[^:\n]*:((?:\s*-? ?\.[^\s,]+)+)', found.string)
    told = [f"{manager} owns {', '.join(re.findall(_FIELD_PATH, owned))}" for manager, owned in conflicts]
    return f"{subject(line_of(found))}: other field managers own what the chart sets: {listed(told)}"


def schema(found: Match) -> str:
    """The values that the chart's schema refuses, each with its path."""
    chart, problems = "", []
    for line in found["rest"].splitlines():
        if problem := re.match(r"- at '(.*?)': (.*)", line.strip()):
            path = problem[1].strip("/").replace("/", ".") or "the top level"
            problems.append(f"{f'{chart}: ' if chart else ''}{path}: {problem[2]}")
        elif line.strip().endswith(":"):
            chart = line.strip()[:-1]
        elif line.strip():
            problems.append(f"{chart}: its values.schema.json cannot be used: {line.strip()}")
    return f"The chart's schema refuses the values: {listed(problems)}"


def template(found: Match) -> str:
    """The innermost place and what went wrong there; helm lists the includes from the outside in."""
    text = found.string
    places = re.findall(r"^(?:Error: )?(\S+?:\d+(?::\d+)?)$", text, re.MULTILINE)
    expressions = re.findall(r"at <(.+?)>:$", text, re.MULTILINE)
    problem = text.strip().splitlines()[-1].strip()
    expression = f" ({expressions[-1]})" if expressions else ""
    return f"Template {places[-1] if places else found['place']}{expression}: {problem}"


def waited(sentence: str) -> Callable[[Match], str]:
    """Make a sentence about the resources that helm waited for: `{list}`."""
    return lambda found: sentence.format(list=unready(found.string))


def hook_failed(found: Match) -> str:
    """Which hook failed, and what became of its Job."""
    phase = found.groupdict().get("phase") or "delete"
    return f"The {phase} hook failed: {unready(found.string) or one_line(line_of(found), 400)}"


def hook_timeout(found: Match) -> str:
    """Which hook did not end in time."""
    phase = found.groupdict().get("phase") or "delete"
    return f"The {phase} hook did not finish within the timeout: {unready(found.string)}"


def escalation(found: Match) -> str:
    """Which permissions the operator would have to hold itself."""
    rules = re.findall(r"\{APIGroups:.*?\}", found.string)
    return f"{subject(line_of(found))}: it would grant permissions that the operator does not have: {listed(rules)}"


def host(found: Match) -> str:
    """The place that a pull asked: of a registry its address, of a repository its URL."""
    urls = re.findall(r"(?:https?|oci)://[^\s\"]+", found.string)
    if not urls:
        return "the chart's source"
    return re.sub(r"(/v2/.*|/index\.yaml)?:?$", "", urls[-1])


def owner(found: Match) -> str:
    """Whom an object belongs to that the release cannot take."""
    release = re.search(r'release-name" must equal "[^"]+": current value is "([^"]+)"', found.string)
    namespace = re.search(r'release-namespace" must equal "[^"]+": current value is "([^"]+)"', found.string)
    if release or namespace:
        name = f"the release {release[1]}" if release else "a release of this name"
        return name + (f" in namespace {namespace[1]}" if namespace else "")
    return "no release"


def api(found: Match) -> str:
    """What helm says of the API server."""
    return one_line(found.groupdict().get("why") or line_of(found), 500)
