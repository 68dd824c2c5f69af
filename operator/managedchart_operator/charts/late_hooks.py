"""What of a chart decides who waits for its objects: hooks that run after they are ready, and Jobs that vanish.

helm runs post-install and post-upgrade hooks after its own wait, so for a chart that may have one, helm has to wait itself; for
all others the operator waits, without a process. helm takes a Job for unready once its ttlSecondsAfterFinished has deleted
it, so that helm must not wait for these. Looks at text, renders nothing. In doubt a chart has either: a name that a template
puts together, an archive within an archive within an archive.

Source: Helm documentation, "Chart Hooks" (the annotation helm.sh/hook); Kubernetes documentation, "Automatic Cleanup for
Finished Jobs"; helm 4.3.1, measured.
"""

import re
import tarfile
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO

from managedchart_operator.errors import UNREADABLE

# Hooks that do not depend on the wait of an install or an upgrade.
_EARLY = frozenset(
    {
        b"crd-install",
        b"pre-install",
        b"pre-upgrade",
        b"pre-delete",
        b"post-delete",
        b"pre-rollback",
        b"post-rollback",
        b"test",
        b"test-success",
        b"test-failure",
    }
)
# The annotation wherever it is written: as a key of YAML or JSON with its value behind it on the line, or in any other way.
_ANNOTATION = re.compile(rb"helm\.sh/hook(?![\w-])(?:[\"']?\s*:[ \t]*(?P<value>[^\r\n]*))?")
# A value that is whole on its line: a quoted one may be followed by the next key of a mapping in braces. One that is not quoted
# may go on in the next line, also behind a comma. Anchors, tags, escapes, block texts and templates are none of these.
_WHOLE = re.compile(
    rb"(?:(?P<quote>[\"'])(?P<quoted>[\w, \t-]*)(?P=quote)[ \t]*,?|(?P<plain>[\w-](?:[\w, \t-]*[\w-])?))"
    rb"[ \t]*\}*(?:[ \t]+#.*|[ \t]*)"
)
_NEXT_LINE = re.compile(rb"(?:[ \t]*+(?:#[^\r\n]*+)?(?:\r\n|\r|\n))*+(?P<indent>[ \t]*)(?P<first>[^\s])")
# A template that puts the annotation's name together from parts, or a text that escapes a part of it.
_PUT_TOGETHER = re.compile(rb"helm\.sh/?(?:\{\{|[%\"'`\\])")
# Texts for people, which render to nothing. A chart that makes an object of its README does not make a hook of it.
_NOT_RENDERED = (".md", ".helmignore", "LICENSE")
# helm unpacks no deeper than a chart's subcharts; what lies deeper here counts as having a late hook.
_NESTED = 2
# helm stores a chart in 1 MiB compressed, so hardly one that unpacks to more than this can be installed; in memory it stands
# here twice, and beside the chart that it is in.
_UNPACKED_BYTES = 32 * 1024 * 1024


_TTL = b"ttlSecondsAfterFinished"


def text_has_ttl_jobs(text: bytes) -> bool:
    """Whether a template, values or a manifest may make a Job that is deleted once it has finished."""
    return _TTL in text


def text_has_late_hooks(text: bytes) -> bool:
    """Whether a template, or values, may make a hook that runs after an install or an upgrade."""
    if b"helm.sh" not in text:
        return False
    if _PUT_TOGETHER.search(text):
        return True
    return any(not _is_early(found) for found in _ANNOTATION.finditer(text))


def file_has(name: str, data: bytes, test: Callable[[bytes], bool], *, depth: int = 0) -> bool:
    """Whether the test holds of a file of a chart that may be rendered; a packaged subchart is looked into."""
    if name.endswith(_NOT_RENDERED):
        return False
    if name.endswith((".tgz", ".tar.gz")):
        return archive_has(data, test, depth=depth + 1)
    return test(data)


def archive_has(data: bytes, test: Callable[[bytes], bool], *, depth: int = 0) -> bool:
    """Whether the test holds of any file of a packaged chart; also where that cannot be read, which helm will report."""
    if depth > _NESTED:
        return True
    try:
        stream = zlib.decompressobj(wbits=31)
        unpacked = stream.decompress(data, _UNPACKED_BYTES)
        if not stream.eof:
            return True  # there is more than was looked at
        with tarfile.open(fileobj=BytesIO(unpacked)) as archive:
            return any(file_has(name, text, test, depth=depth) for name, text in _files(archive))
    except (*UNREADABLE, tarfile.TarError, zlib.error, EOFError, OSError):
        return True


def _files(archive: tarfile.TarFile) -> Iterable[tuple[str, bytes]]:
    for member in archive:
        if member.issparse():
            # A few bytes that claim to be a file of any size, which tarfile fills with zeros. No packaged chart has one.
            raise tarfile.ReadError("a sparse file")
        if member.isfile() and (content := archive.extractfile(member)) is not None:
            yield member.name, content.read()


def _is_early(found: re.Match[bytes]) -> bool:
    """Whether the value of an annotation names early hooks and nothing else, and is whole on its line."""
    value = _WHOLE.fullmatch(found["value"] or b"")
    if value is None:
        return False
    if value["plain"] and _goes_on(found):
        return False
    words = [word.strip() for word in (value["quoted"] or value["plain"] or b"").split(b",")]
    return all(word in _EARLY for word in words)


def _goes_on(found: re.Match[bytes]) -> bool:
    """Whether the line behind an annotation is indented deeper, by which YAML goes on with a text that is not quoted."""
    text, end = found.string, found.end()
    begin = max(text.rfind(b"\n", 0, found.start()), text.rfind(b"\r", 0, found.start())) + 1
    line = text[begin:end]
    following = _NEXT_LINE.match(text, end)
    return following is not None and len(following["indent"]) > len(line) - len(line.lstrip())
