"""Merging, precedence and error messages of values; test_values_conformance.py compares their meaning with helm's."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from managedchart_operator.api.spec import SetValue, YamlFile
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm import yaml_reader
from managedchart_operator.helm.memory_files import FileArgument
from managedchart_operator.helm.values import Values, encode, load_mapping, merge, merged, read_values
from managedchart_operator.helm.yaml_reader import Budget
from managedchart_operator.reasons import Reason


def refusal(text: str | bytes, budget: Budget | None = None) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ValuesError) as caught:
        load_mapping(data, origin="values file /charts/a.yaml", budget=budget)
    assert (caught.value.reason, caught.value.transient) == (Reason.VALUES_INVALID, False)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", ", line 1: this must be a mapping (key: value), but is a list"),
        ("a: 1\n---\n\nhello\n", ", line 2: this must be a mapping (key: value), but is a string"),
        (
            "a: 1\nb:\n\t- x\n",
            ", line 3: while scanning for the next token: found character that cannot start any token",
        ),
        ("a: 1\n---\nb: 1\n  c: 2\n", ", line 4: mapping values are not allowed in this context"),
        ("x: 1\na: *b\n", ", line 2: unknown anchor 'b'"),
        ("x: 1\n~: 2\n", ", line 2: null cannot be a key; put it in quotes"),
        (b"a: \xff\n", ": it is not UTF-8 text, or contains control characters"),
    ],
)
def test_an_error_names_origin_line_and_problem(text: str | bytes, words: str) -> None:
    assert refusal(text) == f"values file /charts/a.yaml{words}"


def test_an_error_never_quotes_the_text() -> None:
    """A values file may hold passwords."""
    assert "hunter2" not in refusal("password: hunter2\n  x: hunter2\n") + refusal("hunter2") + refusal("{hunter2")


def test_aliases_cannot_fill_the_memory() -> None:
    """Ten lines that would expand to 9^9 values, and a few that repeat one long text, are refused immediately."""
    names = "abcdefghi"
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(names)
    )
    started = time.process_time()
    assert "aliases expand to too many values" in refusal(laughs)
    falling = f"a: &x [{','.join('1' * 10_000)}]\nb: [{','.join(['*x'] * 44)}]\n"
    assert "aliases expand to too many values" in refusal(falling, Budget(nodes=1_000_000)), (
        "go-yaml's limit falls from 400,000 values on"
    )
    repeated = f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 5000)}]\n"
    assert "more than 4 MiB with what aliases repeat" in refusal(repeated)
    assert time.process_time() - started < 5


def test_deep_nesting_is_refused() -> None:
    assert "nested deeper than 100 levels" in refusal("a: " + "[" * 5000 + "]" * 5000)


def test_maps_merge_and_everything_else_is_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": {"x": 1}, "e": "text"}
    over = {"a": {"c": [3], "n": None}, "d": "text", "e": {"y": 1}}
    assert merge(base, over) == {"a": {"b": 1, "c": [3], "n": None}, "d": "text", "e": {"y": 1}}


def test_merging_changes_neither_side() -> None:
    base: dict[str, Any] = {"a": {"b": {"c": 1}}}
    over: dict[str, Any] = {"a": {"b": {"d": 2}}}
    result = merge(base, over)
    result["new"] = 1
    result["a"]["b"]["c"] = 5
    assert (base, over) == ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}})


def all_kinds() -> Values:
    return read_values(
        files=[
            ("/charts/1.yaml", b"a: f1\nb: f1\nc: f1\nd: f1\ne: f1\nm: {f: 1}\n"),
            ("/charts/2.yaml", b"b: f2\nc: f2\nd: f2\n"),
        ],
        yaml_files=[
            YamlFile(filename="i1.yaml", yaml_content="c: i1\nx: i1\nd: i1\nm: {i: 010}\n"),
            YamlFile(filename="i2.yaml", yaml_content="x: i2\n"),
        ],
        values={"d": "v", "s": "v", "m": {"v": 1}},
        set_values=[
            SetValue(key=key, value=value) for key, value in (("s", "s1"), ("t", "s1"), ("t", "s2"), ("m.s", "1"))
        ],
    )


def test_sources_have_an_order_of_precedence(helm_values: Callable[..., Any]) -> None:
    """For the real helm, and for the operator itself."""
    expected = {"a": "f1", "b": "f2", "c": "i1", "d": "v", "e": "f1", "x": "i2", "s": "s1", "t": "s2"}
    expected_mapping = {"f": 1, "i": 8, "v": 1, "s": 1}
    values = all_kinds()
    assert helm_values(arguments=values.arguments) == {**expected, "m": expected_mapping}
    assert values.merged() == {**expected, "m": expected_mapping}


def test_each_source_is_a_file_with_its_origin() -> None:
    files = [argument for argument in all_kinds().arguments if isinstance(argument, FileArgument)]
    assert [(file.option, file.origin) for file in files] == [
        ("--values", "values file /charts/1.yaml"),
        ("--values", "values file /charts/2.yaml"),
        ("--values", "spec.yamlFilesContent[0] (i1.yaml)"),
        ("--values", "spec.yamlFilesContent[1] (i2.yaml)"),
        ("--values", "spec.values"),
        ("--set-file=s", "spec.set[0]"),
        ("--set-file=t", "spec.set[2]"),
    ]


def test_without_values_there_are_no_arguments() -> None:
    assert read_values(files=[], yaml_files=[], values={}, set_values=[]).arguments == []


def test_the_text_contains_every_value() -> None:
    """It is searched for hooks, so that a key and its value must stand side by side."""
    entry = SetValue(key=r"job.annotations.helm\.sh/hook", value="post-install")
    values = read_values(
        files=[("/v", b"f: file")],
        yaml_files=[YamlFile(filename="i", yaml_content="i: inline")],
        values={"v": "values"},
        set_values=[entry],
    )
    for text in (b"f: file", b"i: inline", b'"v": "values"', b'"helm.sh/hook": "post-install"'):
        assert text in values.text


def test_no_value_is_in_the_representation() -> None:
    assert "hunter2" not in repr(
        read_values(
            files=[("/v", b"a: hunter2")],
            yaml_files=[],
            values={"b": "hunter2"},
            set_values=[SetValue(key="c", value="hunter2")],
        )
    )


def read(**given: Any) -> Values:
    return read_values(**{"files": [], "yaml_files": [], "values": {}, "set_values": [], **given})


def lists(count: int) -> bytes:
    return b"a: [" + b"[]," * count + b"]\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"files": [(f"/v/{number}", lists(60_000)) for number in range(2)]},
            "values file /v/1: the values of all sources together have more than 100000 values",
        ),
        (
            {"files": [(f"/v/{number}", b"a: " + b"x" * 1_000_000) for number in range(64)]},
            "values file /v/4: the values of all sources together have more than 4 MiB",
        ),
        (
            {
                "yaml_files": [
                    YamlFile(filename=f"{number}", yaml_content=f"a: &a {'x' * 9000}\nb: [{'*a,' * 190}]\n")
                    for number in range(4)
                ]
            },
            "spec.yamlFilesContent[2] (2): the values of all sources together have more than 4 MiB with what aliases repeat",
        ),
        (
            {"files": [("/v", lists(60_000))], "values": {"b": [[]] * 40_000}},
            "spec.values: the values of all sources together have more than 100000 values",
        ),
        (
            {"values": {"a": "x" * 3_000_000, "b": "\x7f" * 400_000}},
            "spec.values: the values of all sources together have more than 4 MiB",
        ),
        (
            {"set_values": [SetValue(key=f"k{number}" + "[65535]" * 96, value="x") for number in range(256)]},
            "spec.set[0]: the values of all sources together have more than 100000 values",
        ),
        (
            {"set_values": [SetValue(key=f"k{number}[65535]", value="x") for number in range(256)]},
            "spec.set[1]: the values of all sources together have more than 100000 values",
        ),
    ],
    ids=["nodes", "bytes", "aliases", "values", "escapes", "indexes", "lists"],
)
def test_all_sources_share_one_budget(given: dict[str, Any], words: str) -> None:
    """S8: a spec of a few kilobytes that expands is refused before its values are built, with the source's name."""
    before = time.process_time()
    with pytest.raises(ValuesError) as caught:
        read(**given)
    assert (str(caught.value), caught.value.reason) == (words, Reason.VALUES_INVALID)
    assert time.process_time() - before < 2


def test_a_budget_ends_the_reading_of_files() -> None:
    asked = []

    def files() -> Iterator[tuple[str, bytes]]:
        for number in range(64):
            asked.append(number)
            yield f"/v/{number}", b"a: " + b"x" * 1_000_000

    with pytest.raises(ValuesError):
        read(files=files())
    assert len(asked) == 5


def test_a_file_named_repeatedly_counts_once(helm_values: Callable[..., Any]) -> None:
    """S8: helm gets it once, in its last place, which gives the same values."""
    one, two = (
        ("/v/1", b"a: {x: 1, y: 1}\nb: [1]\nn: 1\nm: {p: 1}\n"),
        ("/v/2", b"a: {x: 2, z: 2}\nb: [2]\nn: null\nm: 5\n"),
    )
    repeated = read(files=[one, two] * 32)
    assert [source.origin for source in repeated.sources] == ["values file /v/1", "values file /v/2"] * 32
    assert [argument.origin for argument in repeated.arguments] == ["values file /v/1", "values file /v/2"]  # type: ignore[union-attr]
    turned = read(files=[one, two, one])
    named = [FileArgument("--values", content, path) for path, content in (one, two, one)]
    assert helm_values(arguments=turned.arguments) == helm_values(arguments=named)
    assert turned.merged() == merged(source.values for source in turned.sources)


def test_an_inline_file_has_field_and_name() -> None:
    files = [YamlFile(filename="a.yaml", yaml_content="a: 1"), YamlFile(filename="b.yaml", yaml_content="a: [")]
    with pytest.raises(ValuesError, match=r"^spec\.yamlFilesContent\[1\] \(b\.yaml\), line 2: "):
        read_values(files=[], yaml_files=files, values={}, set_values=[])


def test_equal_values_are_encoded_alike() -> None:
    """Else the order of keys in a spec would change the digest."""
    assert encode({"a": 1, "b": {"d": 1, "c": 2}}) == encode({"b": {"c": 2, "d": 1}, "a": 1})


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf")])
def test_values_that_json_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(ValuesError, match="cannot be passed to Helm"):
        encode({"a": value})


@pytest.mark.parametrize("digits", [20, 21, 4_300, 4_301, 100_000])
def test_a_number_of_any_length_is_read(digits: int) -> None:
    """Go keeps a number that fits neither into 64 bits nor into a float as text; Python refuses to convert so many digits."""
    number = "1" * digits
    expected: object = int(number) if digits <= 20 else float(number) if digits < 300 else number
    assert load_mapping(f"a: {number}\n".encode(), origin="x") == {"a": expected}


@pytest.mark.parametrize("raised", [MemoryError(), RecursionError(), OverflowError()])
def test_every_error_of_a_parser_means_unreadable(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    def resolve(_: str) -> None:
        raise raised

    monkeypatch.setattr(yaml_reader, "resolve", resolve)
    assert f"it cannot be read ({type(raised).__name__})" in refusal("a: 1\n")
