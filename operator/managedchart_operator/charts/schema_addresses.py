"""Lets helm read what a chart's schema refers to on the web from the operator, and from nobody else.

helm fetches such references itself, follows every redirect, and reads files of the operator's pod that a fetched document
refers to. So it gets a copy of the schemas in which each origin (https://charts.example.com) is replaced by a name that nobody
has (`https.0.charts.example.com.schemas.invalid`), behind a proxy that answers for these names only. The rest of an address
stays, so that relative references lead where they led. Pure.

What this misses, such as an escaped keyword, keeps its address, which that proxy refuses.
"""

import re

_DOMAIN = "schemas.invalid"
_VERSION_6 = "v6"
# The drafts that helm's library has built in (jsonschema v6.0.3, metaschemas/); it fetches none of these (measured).
_BUILT_IN = re.compile(
    r"https?://json-schema\.org/(?:schema|draft-0[467]/schema|draft/(?:2019-09|2020-12)/(?:schema|meta/(?:applicator|content|"
    r"core|format|format-annotation|format-assertion|meta-data|unevaluated|validation)))#?$"
)
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?=[/?#]|$)", re.IGNORECASE
)
_STAND_IN = re.compile(
    rf"http://(?P<scheme>https?)\.(?P<port>[0-9]{{1,5}})\.(?P<host>[a-z0-9.-]+)\.{re.escape(_DOMAIN)}(?::80)?(?=[^a-z0-9.-]|$)"
)
# In the text of the document, since a number that Python reads and writes may not stay the same. In draft 4 ids have no "$";
# there `id` is replaced in data as well, which a rule about such data would notice.
_KEYWORD = re.compile(
    r'(?P<before>"(?:\$ref|\$id|\$schema|\$dynamicRef|\$recursiveRef|(?P<old>id))"\s*:\s*")(?P<address>[^"\\\s]{1,2048})"'
)
_DRAFT_4 = re.compile(r'"\$schema"\s*:\s*"https?://json-schema\.org/draft-04/')


def is_built_in(address: str) -> bool:
    """Whether helm has this document itself."""
    return _BUILT_IN.match(address.partition("#")[0]) is not None


def with_stand_ins(document: bytes) -> bytes:
    """Return a schema that refers to stand-ins for addresses of the web."""
    text = document.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    old_ids = _DRAFT_4.search(text) is not None

    def replaced(found: re.Match[str]) -> str:
        address = found["address"]
        if is_built_in(address) or (found["old"] and not old_ids):
            return found[0]
        return f'{found["before"]}{stand_in(address) or address}"'

    return _KEYWORD.sub(replaced, text).encode()


def stand_in(address: str) -> str | None:
    """Return the address that stands for an address of the web; None if there is none."""
    found = _ORIGIN.match(address)
    if not found:
        return None
    host = found["host"].lower()
    if host.startswith("["):
        host = f"{host.strip('[]').replace(':', '-')}.{_VERSION_6}"
    return f"http://{found['scheme'].lower()}.{found['port'] or 0}.{host}.{_DOMAIN}{address[found.end() :]}"


def originals(text: str) -> str:
    """Return a text with the addresses themselves in the place of those that stand for them."""
    return _STAND_IN.sub(_original, text)


def _original(found: re.Match[str]) -> str:
    host = found["host"]
    if host.endswith(f".{_VERSION_6}"):
        host = f"[{host.removesuffix(f'.{_VERSION_6}').replace('-', ':')}]"
    port = "" if found["port"] == "0" else f":{found['port']}"
    return f"{found['scheme']}://{host}{port}"
