"""Removes from helm's error text what a foreign server has answered when helm fetched a part of a chart's schema.

A chart's author chooses the address, so it may be of a server inside the cluster that only the operator's pod can reach: no
answer may reach the status. What remains is the address, without a password or a query, and the kind of the error in words of
Go or of this module. The same is true for a file that such an answer refers to. Messages about the chart's own schema stay, and
those that compare a value with the schema.
Source: helm 4.3.1, pkg/chart/common/util/jsonschema.go; github.com/santhosh-tekuri/jsonschema v6.0.3.
"""

import re
from collections.abc import Iterator

from managedchart_operator.helm.errors.row import UNREACHABLE

SCHEMA_ERROR = "values don't meet the specifications of the schema(s)"
NOT_JSON = "the answer is not JSON"
NOT_TRUSTED = "its certificate is not trusted"
UNUSABLE = "cannot be used as a schema"

_LOADING = re.compile(r'failing loading "(?P<address>[^"\n]*)": (?P<why>.*)')
_STATUS = re.compile(r"returned status (?P<status>\d{3}) \((?P<words>[A-Za-z' -]*)\)$")
# What Go's network code says itself; the rest of its texts may quote the answer.
_NETWORK = re.compile(rf"{UNREACHABLE}|first record does not look like a TLS handshake")
_JSON = re.compile(r"invalid character |json: |EOF$")
_OWN = ('"file:///values.schema.json', 'json-pointer in "file:///values.schema.json')
_FOREIGN = re.compile(r'"(?P<address>https?://[^"\n]*)"')
_LOGIN = re.compile(r"(?<=//)[^/@\s?#]*@")


def without_login(address: str) -> str:
    """Return an address without user, password and query."""
    bare, query, _ = _LOGIN.sub("", address).partition("?")
    return f"{bare}?…" if query else bare


def without_foreign_content(text: str) -> str:
    """Return helm's error text without the content of foreign answers; the same text if it is not about a schema."""
    before, found, after = text.partition(SCHEMA_ERROR)
    return before + found + "\n".join(_clean(after.split("\n"))) if found else text


def _clean(lines: list[str]) -> Iterator[str]:
    details_of_foreign = False
    for line in lines:
        if line.lstrip().startswith("- at '"):
            if not details_of_foreign:
                yield line
            continue
        details_of_foreign = False
        if found := _LOADING.search(line):
            yield f'failing loading "{without_login(found["address"])}": {_why(found["address"], found["why"])}'
        elif line.startswith(_OWN) or not (foreign := _FOREIGN.search(line)):
            yield line
        else:
            details_of_foreign = True
            yield f'"{without_login(foreign["address"])}" {UNUSABLE}'


def _why(address: str, why: str) -> str:
    if not address.startswith(("http://", "https://")):
        return "it is not of the web"
    if "x509: " in why:
        return NOT_TRUSTED
    if status := _STATUS.search(why):
        return f"status {status['status']} ({status['words']})"
    if not why.startswith("HTTP request") and _JSON.search(why) and why != "unexpected EOF":
        return NOT_JSON
    if why.endswith("EOF"):
        return "the answer is cut off"
    network = _NETWORK.search(why)
    return network[0] if network else "the request failed"
