"""`spec.set` means what the real helm's --set means."""

from collections.abc import Callable
from typing import Any

import pytest

from managedchart_operator.api.spec import SetValue
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import Argument
from managedchart_operator.helm.values import encode, read_values

from .conftest import HelmRefusedError

Ask = Callable[..., dict[str, Any]]
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


def flags(key: str, value: str) -> list[Argument]:
    """The arguments of helm for the values below and one entry of spec.set."""
    entry = SetValue(key=key, value=value)
    return read_values(files=[], yaml_files=[], values=BELOW, set_values=[entry]).arguments


@pytest.mark.parametrize(("key", "value"), ACCEPTED)
def test_a_set_gives_what_helm_gives(helm_values: Ask, key: str, value: str) -> None:
    assert helm_values(arguments=flags(key, value)) == helm_values(source=encode(BELOW), sets=(f"{key}={value}",))


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_helm_refuses_is_refused(helm_values: Ask, key: str, value: str) -> None:
    with pytest.raises(HelmRefusedError):
        helm_values(source=encode(BELOW), sets=(f"{key}={value}",))
    with pytest.raises(ValuesError, match=r"^spec\.set\[0\]\.(key|value)"):
        flags(key, value)
