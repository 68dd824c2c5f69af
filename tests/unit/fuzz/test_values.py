"""S8: whatever the values of a spec are, they are read, or refused with a ValuesError, in bounded time."""

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.fuzzing import JSON, bounded_time, fuzzed, texts
from managedchart_operator.api.spec import SetValue, YamlFile
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.values import encode, merged, read_values
from managedchart_operator.nesting import MAX_LEVELS, count

YAML = [
    *(
        "a: ",
        "b:\n",
        "  - ",
        "- ",
        "\n",
        "\n---\n",
        "\n...\n",
        "\t",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "? ",
        "<<: ",
        "# ",
    ),
    *("&a ", "*a", "*b", "&b [*a, *a]", "!!binary ", "!!int ", "!!str ", "!x ", "|\n  ", ">-\n  ", "'", '"', "\\u00e4"),
    *(
        "%YAML 1.1\n",
        "%TAG ! a:\n",
        "~",
        "null",
        "yes",
        "0x1F",
        "0o7",
        "1_0",
        "1e400",
        ".inf",
        "1:30",
        "2001-01-01",
        "\r",
    ),
    *("\ufeff", "\x85", "\u2028", "=", "9" * 5000),
]
SET = [
    "a",
    ".",
    "[",
    "]",
    "0",
    "65536",
    "[65535]",
    "\\",
    "=",
    ",",
    "{",
    "}",
    "null",
    "true",
    "-1",
    "+1",
    "\0",
    "a.b",
    "a[0]",
]


def outcome(**given: Any) -> dict[str, Any] | None:
    """Return the merged values, None where they are refused."""
    arguments = {"files": [], "yaml_files": [], "values": {}, "set_values": [], **given}
    with bounded_time():
        try:
            values = read_values(**arguments)
        except ValuesError:
            return None
        assert values.text is not None
        return values.merged()


@fuzzed
@given(text=texts(YAML))
def test_any_file_is_read_or_refused(text: str) -> None:
    found = outcome(files=[("/v", text.encode(errors="surrogatepass"))])
    assert found is None or (isinstance(found, dict) and count(found, limit=10**7) <= 200_000)


@fuzzed
@given(data=st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    outcome(files=[("/v", data)])


@fuzzed
@given(content=texts(YAML, longest=4000), values=st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_any_values_are_read_or_refused(content: str, values: dict[str, Any]) -> None:
    inline = YamlFile.model_construct(filename="f", yaml_content=content)
    outcome(yaml_files=[inline], values=values)


@fuzzed
@given(entries=st.lists(st.tuples(texts(SET, longest=1024), texts(SET, longest=1024)), max_size=4))
def test_any_set_entries_are_read_or_refused(entries: list[tuple[str, str]]) -> None:
    set_values = [SetValue.model_construct(key=key, value=value) for key, value in entries]
    found = outcome(set_values=set_values, values={"a": [{"b": 1}, "text"], "b": None})
    assert found is None or count(found, limit=10**7) <= 200_000


@fuzzed
@given(depth=st.integers(1, 2 * MAX_LEVELS), opening=st.sampled_from(['{"a":', "[", "{a: ", "- "]))
def test_any_depth_is_read_or_refused(depth: int, opening: str) -> None:
    outcome(files=[("/v", f"x: {opening * depth}".encode())])


@fuzzed
@given(
    one=st.dictionaries(st.text(max_size=2), JSON, max_size=3),
    two=st.dictionaries(st.text(max_size=2), JSON, max_size=3),
)
def test_a_repeated_source_counts_in_its_last_place(one: dict[str, Any], two: dict[str, Any]) -> None:
    # As JSON: it has an order of keys, and NaN equals NaN.
    both = [json.dumps(merged(layers), sort_keys=True) for layers in ([one, two, one], [two, one])]
    assert both[0] == both[1]


@fuzzed
@given(values=st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_encoding_raises_nothing_else(values: dict[str, Any]) -> None:
    with contextlib.suppress(ValuesError):
        assert isinstance(encode(values), bytes)
