"""JSON of any nesting is read, and what is nested too deep is named."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.helm.values import MAX_NODES
from managedchart_operator.nesting import MAX_LEVELS, READ_CONTAINERS, READ_LEVELS, count, too_deep
from managedchart_operator.shallow_json import read_json, shallow_json

DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


def nested(levels: int, *, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * levels + "1" + closing * levels


def crowded(lists: int) -> str:
    """A spec whose values have so many lists, in chains of 90: 1.27 MB take 80 MB as objects."""
    chain = "[" * 90 + "]" * 90
    values = ",".join([chain] * (lists // 90))
    return f'{{"metadata": {{"name": "bomb"}}, "spec": {{"values": {{"a": [{values}]}}, "action": "Skip"}}}}'


def levels_of(value: Any) -> int:
    count = 0
    while isinstance(value, (dict, list)):
        value = next(iter(value.values() if isinstance(value, dict) else value))
        count += 1
    return count


@given(DOCUMENTS, st.booleans())
async def test_json_is_read_as_python_reads_it(document: Any, ascii_only: bool) -> None:
    """Also numbers: the digest of a spec must not change with the reader."""
    text = json.dumps(document, ensure_ascii=ascii_only).encode()
    read = await read_json(text)
    assert read == json.loads(text)
    assert json.dumps(read) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ("%s", []),
        ('{"type": "ADDED", "object": %s}', ["object"]),
        (
            '{"metadata": {}, "items": [{"spec": {"values": {"b": [[1]]}}}, %s, {"spec": {"values": {"b": [[1]]}}}]}',
            ["items", 1],
        ),
    ],
    ids=["object", "event", "page"],
)
async def test_no_more_lists_are_built_than_a_chart_may_have(form: str, path: list[Any]) -> None:
    """S22: and its neighbours on a page are read whole."""
    text = (form % crowded(600_000)).encode()
    for read in (await read_json(text), json.loads(await shallow_json(text))):
        found = read
        for step in path:
            found = found[step]
        assert (found["metadata"], found["spec"]["action"]) == ({"name": "bomb"}, "Skip")
        # It is refused as it would be if it had been built.
        assert count(found["spec"]["values"], limit=MAX_NODES) > MAX_NODES
        assert too_deep(found["spec"]) is None
        containers = json.dumps(found).count("[")
        assert containers <= READ_CONTAINERS + 10
        if "items" in read:
            assert [item["spec"]["values"] for item in read["items"][::2]] == [{"b": [[1]]}] * 2


async def test_brackets_in_strings_are_no_lists() -> None:
    text = json.dumps({"spec": {"yamlFilesContent": ["[" * 500_000]}}).encode()
    assert await read_json(text) == json.loads(text)


async def test_many_outer_lists_are_bounded_too() -> None:
    """Of an object that is not a ManagedChart."""
    read = await read_json(b'{"a": [' + b"[]," * 300_000 + b"1]}")
    assert json.dumps(read).count("[") <= READ_CONTAINERS + 1
    assert read["a"][-1] == 1


@pytest.mark.parametrize("opening", ['{"a":', '[{"]}": "[{\\"", "a":'])
@pytest.mark.parametrize("levels", [READ_LEVELS + 20, 2_000, 9_990, 200_000])
async def test_parts_nested_too_deep_are_read_as_null(opening: str, levels: int) -> None:
    """What comes before and after it is read; brackets within strings are not levels."""
    closing = "}]" if opening.startswith("[") else "}"
    deep = nested(levels, opening=opening, closing=closing)
    read = await read_json(f'{{"before": "\\\\", "deep": {deep}, "after": [1, {{"b": "}}"}}]}}'.encode())
    assert read["before"] == "\\"
    assert read["after"] == [1, {"b": "}"}]
    if opening == '{"a":':
        assert levels_of(read) <= READ_LEVELS
        assert levels_of(read["deep"]) == READ_LEVELS - 1


async def test_each_of_many_deep_parts_is_cut() -> None:
    read = await read_json(f"[{','.join([nested(300)] * 3)}]".encode())
    assert [levels_of(item) for item in read] == [READ_LEVELS - 1] * 3


async def test_a_spec_of_maximum_depth_is_read_within_a_list() -> None:
    """In a page of a list the object is two levels deeper, and its managedFields repeat the spec."""
    values, fields = nested(MAX_LEVELS), nested(MAX_LEVELS + 2)
    item = f'{{"metadata": {{"managedFields": [{{"fieldsV1": {fields}}}]}}, "spec": {{"values": {values}}}}}'
    page = f'{{"items": [{item}]}}'
    assert await read_json(page.encode()) == json.loads(page)


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": [1, 2', nested(2000)[:-5].encode(), b'{"a":' * 2000, b"<html>"])
async def test_invalid_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="line 1 column"):
        await read_json(text)


async def test_cutting_takes_linear_time() -> None:
    """The worst case: a text that ends within a string full of quotes."""
    began = time.process_time()
    with pytest.raises(ValueError, match="line 1 column"):
        await read_json(b'{"a":' * 300 + b'"' + b'\\"' * 700_000)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("levels", [3, READ_LEVELS, READ_LEVELS + 1, 5000])
async def test_another_parser_gets_json_that_it_can_read(levels: int) -> None:
    shallow = await shallow_json(nested(levels).encode())
    assert levels_of(json.loads(shallow)) == min(levels, READ_LEVELS)
    if levels <= READ_LEVELS:
        assert shallow == nested(levels).encode()


# ---- which part


@pytest.mark.parametrize("levels", [MAX_LEVELS - 1, MAX_LEVELS, MAX_LEVELS + 1, 900])
@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_a_value_beyond_the_limit_is_too_deep(levels: int, opening: str) -> None:
    value = {
        "beside": [{}],
        "values": json.loads(nested(levels, opening=opening, closing="]" if opening == "[" else "}")),
    }
    assert (too_deep(value) is None) == (levels <= MAX_LEVELS)


def test_the_part_that_is_too_deep_is_named() -> None:
    """By the beginning of its path, whatever else the value has; long names are shortened."""
    wide = {f"k{number}": [{"x": {}}] * 3 for number in range(100)}
    value = {**wide, "values": {**wide, "list": [0, {}, {"n" * 500: json.loads(nested(MAX_LEVELS))}]}}
    assert too_deep(value) == f"values.list[2].{'n' * 38}……"
