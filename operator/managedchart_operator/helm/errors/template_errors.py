"""Words the errors of a chart's templates, and of what they render: the innermost place and its problem first.

helm reports each include from the outermost inwards, and the whole text that a template has given to `tpl`; the cause is at the
end.
"""

import re

from managedchart_operator.shortening import one_line

# One level of the chain, in helm's two forms: on one line, and on three. Only from the beginning of a word: searched from each
# of its characters, a long word costs its length squared.
_LEVEL = re.compile(
    r"(?<!\S)(?P<place>[^\s:]+:\d+(?::\d+)?):?\s+executing \"[^\"\n]*\" at <(?P<expression>[^\n]+?)>:", re.MULTILINE
)
# The text that was given to tpl, with which the error goes on; Go's %q.
_TPL_TEXT = re.compile(
    r'(?<=tpl function execution for )"(?:[^"\\]|\\.)*+"|(?<=cannot parse template )"(?:[^"\\]|\\.)*+"'
)
_LED_BY = re.compile(
    r"\s*(?:error calling \w+:|error during tpl function execution for\s*:|cannot parse template\s*:|template:|"
    r"gotpl:\d+(?::\d+)?:)\s*"
)
_NO_TEMPLATE = re.compile(r'no template "([^"]+)" associated with template "[^"]*"|template "([^"]+)" not defined')
_NO_FUNCTION = re.compile(r'function "[^"]+" not defined')

_VALUE = "Set the value that the template needs, in the type that it expects; the chart's values.yaml shows both."
_LIBRARY = (
    "No value helps. Use a complete version of the chart: a named template usually comes with a library chart, of which "
    "charts/ has none or another version than the chart needs; helm dependency update renews it."
)
_LIBRARY_OR_VALUE = (
    "Correct the value that names the template, if a value does. Else a named template usually comes with a library chart, of "
    "which charts/ has none or another version than the chart needs; helm dependency update renews it."
)
_FUNCTION = "No value helps. Use a version of the chart that needs only the template functions of this Helm version."
_TEMPLATE = "No value helps. Use another version of the chart, or correct the template."
NAME_NEEDED = "Set metadata.name in the template; Helm does not support generateName."
_QUOTE = (
    "Quote the value where it is set, or in the template (| quote): YAML reads y, yes, no, on, off and true as booleans, and "
    "8080 as a number."
)
_GO_TYPES = {"bool": "boolean", "array": "list", "object": "map", "number": "number", "string": "text"}


def message(found: re.Match[str]) -> str:
    """Name the innermost file of the chart, the expression, and the problem."""
    place, expression, problem = _innermost(found.string)
    given = ", in a text given to tpl" if _in_tpl(found.string) else ""
    return f"Template {place}{given}{f' ({expression})' if expression else ''}: {problem}"


def place(found: re.Match[str]) -> str:
    """Name the innermost file of the chart, with the line and the column."""
    return f"Template {_innermost(found.string)[0]}"


def hint(found: re.Match[str]) -> str:
    """Return what helps: a value, or another chart."""
    _, _, problem = _innermost(found.string)
    if problem.startswith("there is no named template"):
        return _LIBRARY_OR_VALUE if _in_tpl(found.string) else _LIBRARY
    return _FUNCTION if _NO_FUNCTION.search(problem) else _VALUE


def syntax_hint(found: re.Match[str]) -> str:
    """Return what helps against a template that cannot be parsed."""
    return _FUNCTION if _NO_FUNCTION.search(found.string) else _TEMPLATE


def undecodable(found: re.Match[str]) -> str:
    """Say why helm cannot read an object that a template renders."""
    got, field, wanted = found["got"], found["field"], found["wanted"]
    if not got:
        # helm quotes the whole object, which may have passwords.
        why = "it has no kind" if found["why"].startswith("Object 'Kind' is missing") else one_line(found["why"], 400)
        return f"The chart renders something that is not a valid Kubernetes object: {why}{_of(found)}"
    path = field.partition(".")[2] or field
    needed = "a text" if wanted == "string" else wanted
    return (
        f"The chart renders an object with a {_GO_TYPES.get(got, got)} in {path}, where {needed} is needed{_of(found)}"
    )


def undecodable_hint(found: re.Match[str]) -> str | None:
    """Return what helps against a value of a wrong type."""
    return _QUOTE if found["wanted"] == "string" else None


def nameless(found: re.Match[str]) -> str:
    """Say what kind of object has no name, as far as helm does."""
    line = found[0]
    kind = re.search(r'resource (\w+) ""|Kind=(\w+)', line)
    hook = re.search(r"failed ((?:pre|post)-\w+)", line)
    what = kind and (kind[1] or kind[2])
    return without_name(what or (f"{hook[1]} hook" if hook else ""))


def without_name(what: str) -> str:
    """Say that an object has no name; `what` is its kind, or empty."""
    what = what or "object"
    return f"The chart renders {'an' if what[0] in 'AEIOUaeiou' else 'a'} {what} without a name"


def _of(found: re.Match[str]) -> str:
    hook = re.search(r"(?<=hook )\S+(?=: unable to decode)", found.string)
    return f" (template {hook[0]})" if hook else ""


def _in_tpl(text: str) -> bool:
    return "gotpl:" in text


def _innermost(text: str) -> tuple[str, str, str]:
    """Return the place, the expression and the problem."""
    text = _TPL_TEXT.sub("", text)
    levels = list(_LEVEL.finditer(text))
    places = [level["place"] for level in levels if not level["place"].startswith("gotpl:")]
    problem = text[levels[-1].end() :] if levels else text.strip().splitlines()[-1]
    while led := _LED_BY.match(problem):
        problem = problem[led.end() :]
    if named := _NO_TEMPLATE.search(problem):
        problem = f'there is no named template "{named[1] or named[2]}"'
    return places[-1] if places else "of the chart", levels[-1]["expression"] if levels else "", problem.strip()
