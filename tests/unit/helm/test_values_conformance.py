"""Values mean to the operator what they mean to the real helm.

Each case goes to `helm template --values` twice: as a person wrote it, and as it was read and encoded here.
"""

import json
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.manifest import as_sent, parse_manifest
from managedchart_operator.helm.values import encode, load_mapping

from .conftest import HelmRefusedError, in_one_run, own_names

Ask = Callable[..., dict[str, Any]]

SCALARS = """
y Y yes Yes YES yEs n N no No NO on On ON off Off OFF true True TRUE tRue false FALSE
~ null Null NULL nULL "null" 'true' "1"
0 1 -1 +1 -0 007 010 08 0o17 0O17 0b11 -0b11 0B1 0x1F -0x1F 0xfg 0x 1_000 1__0 _1 -_1 0_8 1_e3
9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809
18446744073709551615 18446744073709551616 0xFFFFFFFFFFFFFFFF 0777777777777777777777777 0xFFFFFFFFFFFFFFFFF
1.0 1. .5 -.5 +.5 . .. .e5 ._5 .5_0 .5_ .5__0 .5e1_0 -.5_0 -.5_
1e3 1E3 1e+3 1e-3 1e 1e3.5 1.5e3 1e400 -1e400 .5e400 1e-400 12e03 0x1.8p1
1e22 1e21 5e-324
190:20:30 1:30 190:20:30.15 10:30
2001-12-14 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z 2001-1-1
1.2.3 v1 1a -a +a +-1 --1 ++1 << = <<x / ./x !!str
""".split()  # noqa: SIM905  (a table is read better without quotes)

DOCUMENTS = {
    "empty": "",
    "comment only": "# nothing\n",
    "null": "~\n",
    "separator only": "---\n",
    "later documents win": "a: {b: 1, c: 2}\n---\na: {b: 3}\n--- # comment\nd: 4\n",
    "null document between": "a: 1\n---\n---\nb: 2\n",
    "document end": "a: 1\n...\nb: [\n",
    "windows line ends": "a: 1\r\nb: |\r\n  x\r\n  y\r\n---\r\nc: 2\r\n",
    "byte order mark": "\ufeffa: 1\n",
    "duplicate keys": "a: 1\na: 2\nb: {x: 1, x: [2]}\n",
    "non-string keys": "1: a\n1.5: b\ntrue: c\nno: d\n0x10: e\n2001-12-14: f\n1e3: g\n1000000.5: h\n-0.00001: i\n1e21: j\n",
    "float keys are 32 bits wide": "1.23456789: a\n0.1: b\n123456.0: c\n1234567.0: d\n3.4e39: e\n",
    "anchors": "a: &x {b: 1}\nc: *x\nd: [*x, *x]\n",
    "anchor named again": "a: &x 1\nb: &x 2\nc: *x\n",
    "merge below keys": "base: &b {x: 1, y: 2}\nc: {x: 5, <<: *b}\nd: {<<: *b, x: 5}\n",
    "merge of several": "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n",
    "merge in place": "a: {<<: {x: 1}, y: 2}\n",
    "quoted merge key": 'a: {"<<": {x: 1}}\n',
    "tags": "a: !!str 123\nb: !!int \"3\"\nc: !!float 1\nd: !!bool yes\ne: !mine x\nf: ! 3\ng: !mine {a: 1}\nh: !!null ''\n",
    "empty string with a tag": "a: !!str\n",
    "binary": "a: !!binary aGVsbG8=\n",
    "timestamp tag": "a: !!timestamp 2001-12-14\n",
    "block scalars": "a: |\n  x\n\n  y\nb: >-\n  x\n  y\nc: |+\n  x\n\nd: |2\n   x\n",
    "plain over lines": "a: 1\n  2\nb: x\n\n  y\n",
    "flow": '{a: [1, {b: c}], "d":1, e: , f}\n',
    "explicit keys": "? a\n: 1\n? b\n",
    "escapes": 'a: "\\x41\\u00e9\\U0001F600\\t\\0\\e"\n',
    "other scripts": "ключ: 値 😀\n",
    "no line end": "a: 1",
}

REFUSED = {
    "list": "- a\n",
    "string": "hello\n",
    "number": "1\n",
    "tab": "a:\n\t- b\n",
    "bad indent": "a: 1\n  b: 2\n",
    "unclosed": "a: [1\n",
    "infinity": "a: .inf\n",
    "not a number": "a: .nan\n",
    "null key": "~: 1\n",
    "list as key": "? [a]\n: 1\n",
    "unknown anchor": "a: *b\n",
    "contains itself": "a: &a [*a]\n",
    "merge of a scalar": "a: {<<: 1}\n",
    "merge of a list behind an alias": "l: &l [{a: 1}]\nb: {<<: *l}\n",
    "text behind the separator": "--- {a: 1}\n",
    "four dashes": "a: 1\n----\n",
    "yaml directive": "%YAML 1.1\n---\na: 1\n",
    "wrong tag": "a: !!int abc\n",
    "bad base64": "a: !!binary '%%%'\n",
    "at sign": "a: @b\n",
    "control character": "a: \x01\n",
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)),
}


def as_json(value: Any) -> str:
    """A text in which true and 1 differ, and in which all numbers are floats, as they are for helm."""
    return json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)


def test_every_scalar_is_read_as_helm_reads_it(helm_values: Ask) -> None:
    text = "".join(f"k{number}: {scalar}\n" for number, scalar in enumerate(SCALARS))
    ours = load_mapping(text.encode(), origin="x")
    theirs = helm_values(source=text.encode())
    different = {
        scalar: (ours[f"k{number}"], theirs[f"k{number}"])
        for number, scalar in enumerate(SCALARS)
        if as_json(ours[f"k{number}"]) != as_json(theirs[f"k{number}"])
    }
    assert different == {}
    assert helm_values(source=encode(ours)) == theirs


def test_every_manifest_scalar_is_sent_as_by_helm(helm_values: Ask) -> None:
    """With the type that it has in JSON. helm's values are floats, so whole numbers of more than 53 bits are left out."""
    text = "".join(f"k{number}: {scalar}\n" for number, scalar in enumerate(SCALARS))
    [found] = map(as_sent, parse_manifest("kind: A\n" + text))
    theirs = helm_values(source=text.encode())
    big = {key for key, value in found.items() if isinstance(value, int) and abs(value) > 2**53}
    different = {
        SCALARS[int(key[1:])]: (found[key], value)
        for key, value in theirs.items()
        if key not in big and (found[key], type(found[key])) != (value, type(value))
    }
    assert different == {}


@pytest.fixture(scope="module")
def encoded_documents(helm_values: Ask) -> dict[str, dict[str, Any] | Exception]:
    """What the templates get of each document after it was read and encoded here."""

    def ask(cases: Mapping[int, str]) -> dict[str, Any]:
        read = [own_names(number, load_mapping(text.encode(), origin="x")) for number, text in cases.items()]
        return helm_values(source=encode(dict(ChainMap(*read))))

    return in_one_run(ask, dict(enumerate(DOCUMENTS.values())))


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents_are_read_as_helm_reads_them(
    helm_values: Ask, encoded_documents: dict[str, dict[str, Any] | Exception], text: str
) -> None:
    ours = load_mapping(text.encode(), origin="x")
    theirs = helm_values(source=text.encode())
    assert as_json(ours) == as_json(theirs)
    assert encoded_documents[text] == theirs


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_helm_refuses_is_refused(helm_values: Ask, text: str) -> None:
    with pytest.raises(HelmRefusedError):
        helm_values(source=text.encode())
    with pytest.raises(ValuesError):
        load_mapping(text.encode(), origin="x")


def test_invalid_utf8_is_refused(helm_values: Ask) -> None:
    for data in (b"a: \xff\n", b"a: \xc3\n", b"\xfe\xfe\xfe"):
        with pytest.raises(HelmRefusedError):
            helm_values(source=data)
        with pytest.raises(ValuesError, match="not UTF-8 text"):
            load_mapping(data, origin="x")


def test_every_character_reaches_the_templates_unchanged(helm_values: Ask) -> None:
    """Go's JSON prints a lone U+FFFD for nothing here: each character of the planes' borders comes back as itself."""
    points = [*range(0x300), *range(0x2000, 0x2070), *range(0xD7F0, 0xD800), *range(0xE000, 0xE010)]
    points += [*range(0xFDD0, 0xFDF0), *range(0xFEF0, 0xFF00), *range(0xFFF0, 0x10010), 0x1F600, 0x1FFFE, 0x10FFFF]
    values = {f"k{point:x}": f"a{chr(point)}b" for point in points} | {"lines": "x\n---\ny\r\n  z\t", "<<": {"a": 1}}
    assert helm_values(source=encode(values)) == values


json_values = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)  # helm knows no negative zero
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=30,
)


mappings = st.dictionaries(st.text(min_size=1, max_size=20), json_values, min_size=1, max_size=4)


# One process an example: a few are enough in addition to the tables.
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(examples=st.lists(mappings, min_size=5, max_size=5))
def test_whatever_json_holds_reaches_the_templates_unchanged(helm_values: Ask, examples: list[dict[str, Any]]) -> None:
    values = dict(ChainMap(*(own_names(number, example) for number, example in enumerate(examples))))
    assert as_json(helm_values(source=encode(values))) == as_json(values)
