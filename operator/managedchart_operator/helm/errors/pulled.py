"""Rewords the error of a `helm pull`, so that nothing of what a server has answered is left in it.

The author of a ManagedChart chooses the server, or one that leads to another, so an answer may be that of a server which only
the operator's pod can reach. helm quotes it: the first unknown key of a page that is no index, the message of a registry, the
names in a certificate. What remains is what kind of thing was wrong, in fixed words, and the address without login and query.
A text of another form is left out as a whole. Source: helm 4.3.1 (pkg/repo, pkg/getter), oras-go v2 (registry/remote/errcode).
"""

import re
from http import HTTPStatus

from managedchart_operator.helm.errors.foreign import without_login
from managedchart_operator.helm.errors.row import UNREACHABLE

NO_INDEX = "the answer is not an index of charts"
NO_ANSWER_OF_A_REGISTRY = "the answer is not that of a registry"
BAD_LOGIN_SERVER = "the registry names a login server that cannot be used"
NO_CHART = "the artifact is not a Helm chart"
WITHHELD = "the error of helm pull is withheld, because it may quote the answer of a server"
NOT_CONNECTED = "connect: permission denied"

_REPOSITORY = re.compile(
    r'looks like "(?P<url>[^"\n]*)" is not a valid chart repository or cannot be reached: (?P<why>.*)', re.DOTALL
)
_FETCH = re.compile(r"failed to fetch (?P<url>\S+) ?: (?P<status>[1-5]\d\d)\b.*", re.DOTALL)
_REQUEST = re.compile(
    r'(?P<before>failed to perform "\w{1,30}" on (?:source|destination): |)(?P<verb>[A-Za-z]{3,6}) "(?P<url>[^"\n]*)": '
    r"(?P<why>.*)",
    re.DOTALL,
)
# What helm and oras say themselves, about what the spec names.
_OWN = re.compile(
    r'chart "[^"\n]*" (?:version "[^"\n]*" )?not found in \S+ repository|'
    r'failed to perform "\w{1,30}" on source: \S+: not found|'
    r"could not locate a version matching provided version string [^\n]*|"
    r"unable to locate any tags in provided repository: \S+|"
    r"(?:invalid[ _]reference|improper constraint): [^\n]*|"
    r"empty index\.yaml file|no API version specified|basic credential not found"
)
_STATUS = re.compile(r"response status code (?P<status>[1-5]\d\d)\b")
_TLS = re.compile(r"first record does not look like a TLS handshake|server gave HTTP response to HTTPS client")
_DIAL = re.compile(
    r"(?P<what>(?:dial tcp [^\s\"]{1,100}: |dial tcp: lookup \S{1,255}[^\n]{0,60}: )?)(?:connect: )?"
    rf"(?P<why>{UNREACHABLE})"
)
# The disk of the operator's pod; the path is of no use to anybody who reads it.
_DISK = re.compile(r"no space left on device|read-only file system|disk quota exceeded|file too large")
# pkg/registry of helm: an image, for instance. The media types are the registry's.
_OTHER_ARTIFACT = re.compile(r"^(?:could not load config with mediatype|manifest does not contain )")
_CERTIFICATES = (
    (re.compile(r"signed by unknown authority"), "certificate signed by unknown authority"),
    (re.compile(r"expired or is not yet valid"), "certificate has expired or is not yet valid"),
    (
        re.compile(r"not valid for any names|is valid for |cannot validate certificate for|Common Name"),
        "certificate is not valid for this name",
    ),
)


def without_answers(text: str) -> str:
    """Return the error of a pull, as `text.error_part` gives it, in words that quote no answer."""
    if found := _REPOSITORY.fullmatch(text):
        why = _of_request(found["why"]) or NO_INDEX
        return f'looks like "{without_login(found["url"])}" is not a valid chart repository or cannot be reached: {why}'
    if _OTHER_ARTIFACT.search(text):
        return NO_CHART
    return _of_request(text) or _known(_DISK, text) or WITHHELD


def _of_request(text: str) -> str | None:
    if _OWN.fullmatch(text):
        return text
    if found := _FETCH.fullmatch(text):
        return f"failed to fetch {without_login(found['url'])} : {_status(found['status'])}"
    if found := _REQUEST.fullmatch(text):
        return f'{found["before"]}{found["verb"]} "{without_login(found["url"])}": {_why(found["why"])}'
    return None


def _why(text: str) -> str:
    if found := _STATUS.match(text):
        return f"response status code {_status(found['status'], colon=True)}"
    if _OWN.fullmatch(text):
        return text
    if text.startswith("bearer realm host "):
        return BAD_LOGIN_SERVER
    if "x509: " in text:
        kinds = (words for pattern, words in _CERTIFICATES if pattern.search(text))
        return f"tls: failed to verify certificate: x509: {next(kinds, 'certificate is not accepted')}"
    if tls := _known(_TLS, text):
        return f"tls: {tls}" if tls.startswith("first") else tls
    if text.endswith(NOT_CONNECTED):
        return NOT_CONNECTED
    if found := _DIAL.search(f": {text}"):
        return f"{found['what']}{'connect: ' if found['why'] == 'connection refused' else ''}{found['why'].removeprefix(': ')}"
    return NO_ANSWER_OF_A_REGISTRY


def _known(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[0] if found else None


def _status(code: str, *, colon: bool = False) -> str:
    """Return a status with the words of the standard, in the place of the server's."""
    try:
        words = HTTPStatus(int(code)).phrase
    except ValueError:
        return code
    return f"{code}{':' if colon else ''} {words}"
