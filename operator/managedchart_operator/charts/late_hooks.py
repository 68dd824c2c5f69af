"""Finds what decides whether helm or the operator waits for a chart's objects: late hooks, Jobs with a TTL, what is left out.

helm runs post-install and post-upgrade hooks after its own wait, so helm must wait for a chart that may have one; for all
others the operator waits, without a process. helm treats a Job that its ttlSecondsAfterFinished has deleted as not ready, so
helm must not wait for these. It cannot leave an object out of its wait either (`annotations.WAIT`). This searches the text and
renders nothing. In doubt a chart has late hooks and such Jobs, as for a name that a template assembles. `search` applies this
to the files of a chart.

Source: Helm documentation, "Chart Hooks" (the annotation helm.sh/hook); Kubernetes documentation, "Automatic Cleanup for
Finished Jobs"; helm 4.3.1, measured.
"""

import re

from managedchart_operator.api import annotations

# Hooks that do not run after the wait of an install or an upgrade.
_EARLY = frozenset(
    b"crd-install pre-install pre-upgrade pre-delete post-delete pre-rollback post-rollback "
    b"test test-success test-failure".split()
)
# The annotation in any form: as a key of YAML or JSON with its value after it on the line, or in any other way.
_ANNOTATION = re.compile(rb"helm\.sh/hook(?![\w-])(?:[\"']?\s*:[ \t]*(?P<value>[^\r\n]*))?")
# A value that is complete on its line; a quoted one may be followed by the next key of a mapping in braces. An unquoted one may
# continue on the next line, also after a comma. Anchors, tags, escapes, block texts and templates do not match.
_WHOLE = re.compile(
    rb"(?:(?P<quote>[\"'])(?P<quoted>[\w, \t-]*)(?P=quote)[ \t]*,?|(?P<plain>[\w-](?:[\w, \t-]*[\w-])?))"
    rb"[ \t]*\}*(?:[ \t]+#.*|[ \t]*)"
)
_NEXT_LINE = re.compile(rb"(?:[ \t]*+(?:#[^\r\n]*+)?(?:\r\n|\r|\n))*+(?P<indent>[ \t]*)(?P<first>[^\s])")
# A template that assembles the annotation's name from parts, or a text that escapes a part of it.
_ASSEMBLED = re.compile(rb"helm\.sh/?(?:\{\{|[%\"'`\\])")
_TTL = b"ttlSecondsAfterFinished"
# Texts for people. A chart that puts its README into an object does not make it a hook.
_NOT_RENDERED = (".md", ".helmignore", "LICENSE")


def text_has_ttl_jobs(text: bytes) -> bool:
    """Whether values or a manifest may make a Job that Kubernetes deletes once it has finished."""
    return _TTL in text


def template_has_ttl_jobs(text: bytes) -> bool:
    """Whether a file of a chart may make such a Job that is not a hook. Helm waits for each hook separately, until it ends."""
    return _TTL in text and any(_TTL in each and b"helm.sh/hook" not in each for each in text.split(b"\n---"))


def text_leaves_out(text: bytes) -> bool:
    """Whether a template, values or a manifest may make an object that the wait leaves out."""
    return annotations.WAIT.encode() in text


def text_has_late_hooks(text: bytes) -> bool:
    """Whether a template, or values, may make a hook that runs after an install or an upgrade."""
    if b"helm.sh" not in text:
        return False
    if _ASSEMBLED.search(text):
        return True
    return any(not _is_early(found) for found in _ANNOTATION.finditer(text))


def is_rendered(name: str) -> bool:
    """Whether a file of a chart may become a part of an object."""
    return not name.endswith(_NOT_RENDERED)


def _is_early(found: re.Match[bytes]) -> bool:
    """Whether the value of an annotation names only early hooks and is complete on its line."""
    value = _WHOLE.fullmatch(found["value"] or b"")
    if value is None or (value["plain"] and _continues(found)):
        return False
    words = [word.strip() for word in (value["quoted"] or value["plain"] or b"").split(b",")]
    return all(word in _EARLY for word in words)


def _continues(found: re.Match[bytes]) -> bool:
    """Whether the line after an annotation is indented deeper, by which YAML continues an unquoted text."""
    text, end = found.string, found.end()
    begin = max(text.rfind(b"\n", 0, found.start()), text.rfind(b"\r", 0, found.start())) + 1
    line = text[begin:end]
    following = _NEXT_LINE.match(text, end)
    return following is not None and len(following["indent"]) > len(line) - len(line.lstrip())
