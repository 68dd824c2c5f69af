"""Builds those messages of the error table that need more than filling in a name.

Each function takes the match of a row and returns one sentence, without the parts that the text does not have. `classify` and
`from_facts` decide which row matches.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from managedchart_operator.api_refusals import line_of
from managedchart_operator.helm.errors.text import in_hook, more, subject
from managedchart_operator.helm.errors.unready import list_unready, unready_in
from managedchart_operator.shortening import listed, one_line


@dataclass(frozen=True, slots=True)
class Match:
    """A match of a row's pattern, and what the text is about."""

    found: re.Match[str]
    subject: str
    """The object, like `Deployment apps/web`."""
    hook: str
    """The hook that it comes from, as the beginning of a sentence; "" for none."""
    more: str
    """How many further objects were refused, as the end of a sentence; "" for none."""

    @classmethod
    def read(cls, found: re.Match[str]) -> Self:
        """Find in helm's text what it is about."""
        line = line_of(found)
        return cls(found, subject(line), in_hook(line), more(found.string))

    def __getitem__(self, group: str | int) -> str | Any:
        return self.found[group]

    @property
    def groups(self) -> dict[str, str]:
        """The named groups of the pattern, empty where the text has none."""
        return self.found.groupdict(default="")

    @property
    def string(self) -> str:
        """The whole text."""
        return self.found.string

    @property
    def line(self) -> str:
        """The line of the text in which the match begins."""
        return line_of(self.found)


def schema(found: Match) -> str:
    """List the values that the chart's schema refuses, each with its path."""
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
    """Name the innermost place and its problem; helm lists the includes from the outermost inwards."""
    text = found.string
    places = re.findall(r"^(?:Error: )?(\S+?:\d+(?::\d+)?)$", text, re.MULTILINE)
    expressions = re.findall(r"at <(.+?)>:$", text, re.MULTILINE)
    problem = text.strip().splitlines()[-1].strip()
    expression = f" ({expressions[-1]})" if expressions else ""
    return f"Template {places[-1] if places else found['place']}{expression}: {problem}"


def waited(sentence: str) -> Callable[[Match], str]:
    """Return a function that fills the `{list}` of objects that helm waited for into a sentence."""
    return lambda found: sentence.format(list=list_unready(unready_in(found.string)))


def hook_failed(found: Match) -> str:
    """Name the hook that failed, with the state of its Job."""
    phase = found.groups.get("phase") or "delete"
    return f"The {phase} hook failed: {list_unready(unready_in(found.string)) or one_line(found.line, 400)}"


def hook_timeout(found: Match) -> str:
    """Name the hook that did not finish in time."""
    phase = found.groups.get("phase") or "delete"
    return f"The {phase} hook did not finish within the timeout: {list_unready(unready_in(found.string))}"


def host(found: Match) -> str:
    """Return where the chart was pulled from: the address of a registry, the URL of a repository."""
    urls = re.findall(r"(?:https?|oci)://[^\s\"]+", found.string)
    if not urls:
        return "The chart's source"
    return re.sub(r"(/v2/.*|/index\.yaml)?:?$", "", urls[-1])


def owner(found: Match) -> str:
    """Name the owner of an object that the release cannot take over."""
    release = re.search(r'release-name" must equal "[^"]+": current value is "([^"]+)"', found.string)
    namespace = re.search(r'release-namespace" must equal "[^"]+": current value is "([^"]+)"', found.string)
    if release or namespace:
        name = f"the release {release[1]}" if release else "a release of this name"
        return name + (f" in namespace {namespace[1]}" if namespace else "")
    return "no release"


def api(found: Match) -> str:
    """Return what helm reports about the API server."""
    return one_line(found.groups.get("why") or found.line, 500)
