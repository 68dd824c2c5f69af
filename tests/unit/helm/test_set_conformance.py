"""`spec.set` means what the real helm's --set means."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from managedchart_operator.api.spec import SetValue
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import Argument
from managedchart_operator.helm.values import encode, read_values

from .conftest import HelmRefusedError, in_one_run, own_name, own_names

Ask = Callable[..., dict[str, Any]]
Entry = tuple[str, str]
Readings = dict[Entry, dict[str, Any] | Exception]
BELOW: dict[str, Any] = {"map": {"a": 1}, "list": [1, {"x": 1}, [5]], "text": "t", "nothing": None}

# No comma in these values: there --set needs a backslash, and spec.set does not.
ACCEPTED = [
    *[
        ("k", value)
        for value in ("", "x", "true", "TRUE", "False", "null", "NULL", "nil", "yes", "0", "00", "01", "-0")
    ],
    *[
        ("k", value)
        for value in (
            "1",
            "-1",
            "+5",
            "-05",
            "1.5",
            "1e3",
            "1_0",
            " 1",
            "9007199254740991",
            "1000000",
            "{1000000,2}",
        )
    ],
    *[("k", value) for value in ("9223372036854775808", "-9007199254740991", "-9223372036854775809", "\u0661")],
    *[
        ("k", value)
        for value in ("a=b", "a.b[0]", r"a\b", r"a\\b", r"a\,b", "a\\", r"\{a}", "fal\u017fe", "x\ny", '"q"')
    ],
    *[("k", value) for value in ("{a,b}", "{}", "{1,true,null,x}", "{a, b}", r"{a\,b,\}}", "{a,}", "{{a}", "{=}")],
    *[(key, "v") for key in ("a.b.c", r"a\.b", r"a\.b/c.d", r"a\=b", r"a\[0\]", "a b", "a-b_c/d", "map.b", "map")],
    *[
        (key, "v")
        for key in ("l[0]", "l[2]", "l[0].a", "l[1].a.b", "l[0][1]", "l[1][0].x", "a.l[0].b[1].c", "l[01]", "l[+1]")
    ],
    *[
        (key, "v")
        for key in ("list[0]", "list[1].y", "list[1].x", "list[0].y", "list[2][0]", "list[2][2]", "list[4]", "list")
    ],
    *[(key, "v") for key in ("text", "nothing", "é.ü", r"a\\b", "a]b", "a{b", ".".join(["n"] * 31))],
    ("map.a", "null"),
    ("list[3].a", "{x,y}"),
]

REFUSED = [
    *[
        (key, "v")
        for key in ("text.a", "text[0]", "map[0]", "list.a", "nothing.a", "nothing[0]", "list[0][0]", "list[1][0]")
    ],
    *[(key, "v") for key in ("l[-1]", "l[x]", "l[]", "l[0]a", "l[0]a.b", "l[65537]", "l[99999999999999999999]")],
    *[(key, "v") for key in ("a.", "a,b", ".".join(["n"] * 32))],
    *[("k", value) for value in ("{a", "{a,b", "{a}b", "{a}.b")],
]


def flags(*entries: tuple[str, str], below: dict[str, Any]) -> list[Argument]:
    """The arguments of helm for the values below and these entries of spec.set."""
    set_values = [SetValue(key=key, value=value) for key, value in entries]
    return read_values(files=[], yaml_files=[], values=below, set_values=set_values).arguments


@pytest.fixture(scope="module")
def of_spec_set(helm_values: Ask) -> Readings:
    """What the templates get of each accepted entry from the arguments that the operator makes."""

    def ask(cases: Mapping[int, Entry]) -> dict[str, Any]:
        entries = [(own_name(number, key), value) for number, (key, value) in cases.items()]
        return helm_values(arguments=flags(*entries, below=own_below(cases)))

    return in_one_run(ask, dict(enumerate(ACCEPTED)))


@pytest.fixture(scope="module")
def of_helms_set(helm_values: Ask) -> Readings:
    """What the templates get of each accepted entry from helm's own --set."""

    def ask(cases: Mapping[int, Entry]) -> dict[str, Any]:
        sets = [f"{own_name(number, key)}={value}" for number, (key, value) in cases.items()]
        return helm_values(source=encode(own_below(cases)), sets=sets)

    return in_one_run(ask, dict(enumerate(ACCEPTED)))


def own_below(cases: Mapping[int, Entry]) -> dict[str, Any]:
    """The values below, for each case."""
    return {name: value for number in cases for name, value in own_names(number, BELOW).items()}


@pytest.mark.parametrize(("key", "value"), ACCEPTED)
def test_a_set_gives_what_helm_gives(of_spec_set: Readings, of_helms_set: Readings, key: str, value: str) -> None:
    assert of_spec_set[key, value] == of_helms_set[key, value]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_helm_refuses_is_refused(helm_values: Ask, key: str, value: str) -> None:
    with pytest.raises(HelmRefusedError):
        helm_values(source=encode(BELOW), sets=(f"{key}={value}",))
    with pytest.raises(ValuesError, match=r"^spec\.set\[0\]\.(key|value)"):
        flags((key, value), below=BELOW)
