"""The flags that `spec.set` becomes, and its errors."""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from managedchart_operator.api.spec import SetValue
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import FileArgument
from managedchart_operator.helm.set_flags import MAX_TEXTS, SetFlags, set_flags
from managedchart_operator.helm.values import encode, merged
from managedchart_operator.reasons import Reason

Ask = Callable[..., dict[str, Any]]
Entries = list[tuple[str, str]]

# What the operator made of two entries while it merged all values itself: `pairs` are indexes of the first and the second
# entry, and the names that differ from `below` then, or the message.
RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "set_overlaps.json").read_text())
BELOW: dict[str, Any] = RECORDED["below"]
ENTRIES: Entries = [(key, value) for key, value in RECORDED["entries"]]
# So many at once go to one helm process, each below a name of its own; they have fewer texts than the limit.
BATCH = 90


def flags(entries: Entries, *below: dict[str, Any]) -> SetFlags:
    return set_flags([SetValue(key=key, value=value) for key, value in entries], merged(below))


def outcome(*entries: tuple[str, str], below: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(flags(list(entries), below or {}).outcome)


def refusal(key: str, value: str = "secret") -> ValuesError:
    with pytest.raises(ValuesError) as caught:
        flags([("a", "1"), ("b", "2"), (key, value)], {"image": "x", "list": [1]})
    return caught.value


def spelled(*entries: tuple[str, str]) -> list[str]:
    """The arguments, of files with their content."""
    found = flags(list(entries)).arguments
    return [f"{a.option}=<{a.content.decode()}>" if isinstance(a, FileArgument) else a for a in found]


def asked(helm_values: Ask, sequences: list[Entries]) -> Iterator[dict[str, Any]]:
    """Return what the real helm makes of each sequence over `BELOW`."""
    for begin in range(0, len(sequences), BATCH):
        batch = sequences[begin : begin + BATCH]
        below = {f"p{number}": BELOW for number in range(len(batch))}
        entries = [(f"p{number}.{key}", value) for number, each in enumerate(batch) for key, value in each]
        found = helm_values(source=encode(below), arguments=flags(entries, below).arguments)
        yield from (found[f"p{number}"] for number in range(len(batch)))


def test_overlapping_entries_give_the_recorded_results(helm_values: Ask) -> None:
    """helm applies set flags by kind, not by position; the result must not depend on that."""
    accepted, expected = [], []
    for first, second, recorded in RECORDED["pairs"]:
        pair = [ENTRIES[first], ENTRIES[second]]
        if isinstance(recorded, str):
            with pytest.raises(ValuesError) as caught:
                flags(pair, BELOW)
            assert caught.value.message == recorded
            continue
        accepted.append(pair)
        expected.append({**BELOW, **recorded})
        assert {**BELOW, **outcome(*pair, below=BELOW)} == expected[-1], pair
    assert len(accepted) > BATCH
    found = list(asked(helm_values, accepted))
    assert [each for each in zip(accepted, found, expected, strict=True) if each[1] != each[2]] == []


def test_a_sequence_equals_its_entries_one_by_one(helm_values: Ask) -> None:
    chosen = random.Random(11)  # the same sequences in each run
    lists = [entry for entry in ENTRIES if entry[0].startswith("l")]
    sequences: list[Entries] = []
    while len(sequences) < 3 * BATCH:
        entries = chosen.choices(lists, k=chosen.choice((3, 4)))
        try:
            flags(entries, BELOW)
        except ValuesError:
            continue
        sequences.append(entries)
    found = list(asked(helm_values, sequences))
    expected = [{**BELOW, **outcome(*entries, below=BELOW)} for entries in sequences]
    assert [each for each in zip(sequences, found, expected, strict=True) if each[1] != each[2]] == []


def test_only_numbers_booleans_and_null_are_arguments() -> None:
    entries = [("n", "+8"), ("b", "TRUE"), ("z", "null"), ("t", "007"), ("p", "hunter2"), ("l", "{1,x,false,null,1.5}")]
    assert spelled(*entries) == [
        "--set=n=8",
        "--set=b=true",
        "--set=z=null",
        "--set=l={1,null,false,null,null}",
        "--set-file=t=<007>",
        "--set-file=p=<hunter2>",
        "--set-file=l[1]=<x>",
        "--set-file=l[4]=<1.5>",
    ]


def test_helm_reads_written_keys_the_same() -> None:
    entries = [(r"a\.b.c\=d[01]", "1"), ("e\\", "{x}"), (r"f\\\,\[", "1")]
    assert spelled(*entries) == [r"--set=a\.b.c\=d[1]=1", "--set=e={null}", r"--set=f\\\,\[=1", "--set-file=e[0]=<x>"]


def test_a_text_that_is_overridden_does_not_reach_helm() -> None:
    assert spelled(("a.b", "old"), ("a", "5")) == ["--set=a.b=null", "--set=a=5"]
    assert spelled(("a", "old"), ("a", "5")) == ["--set=a=null", "--set=a=5"]
    assert spelled(("a", "old"), ("a", "new")) == ["--set=a=null", "--set-file=a=<new>"]


def test_an_argument_does_not_show_its_text() -> None:
    assert "hunter2" not in repr(flags([("password", "hunter2")]))


@pytest.mark.parametrize("number", ["1000000", "123456789012", "9223372036854775807"])
def test_a_large_whole_number_stays_one(helm_values: Ask, number: str) -> None:
    """From a values file helm takes it for a float, which templates print as 1e+06."""
    assert helm_values(arguments=flags([("n", number)]).arguments) == {"n": int(number)}
    assert spelled(("n", number)) == [f"--set=n={number}"]


def test_a_comma_in_a_value_is_a_comma() -> None:
    """--set would treat the rest as the next key."""
    assert outcome(("a", "x,b=y")) == {"a": "x,b=y"}
    assert outcome(("a", r"x\,b=y")) == {"a": "x,b=y"}


def test_an_empty_value_in_a_new_list_is_kept(helm_values: Ask) -> None:
    """helm 4.3.1 loses it: --set 'a[0].b=' gives an empty list."""
    assert outcome(("a[0].b", "")) == {"a": [{"b": ""}]}
    assert helm_values(arguments=flags([("a[0].b", "")]).arguments) == {"a": [{"b": ""}]}


def test_the_values_below_are_not_changed() -> None:
    values = {"a": {"b": [1, {"c": 1}]}}
    before = deepcopy(values)
    assert outcome(("a.b[1].c", "2"), below=values) == {"a": {"b": [1, {"c": 2}]}}
    assert values == before


def test_the_outcome_includes_values_of_the_sources() -> None:
    found = flags([("a.z", "1")], {"a": {"x": 1, "y": 1}, "b": 1}, {"a": {"y": 2}})
    assert found.outcome == {"a": {"x": 1, "y": 2, "z": 1}}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("a..b", "a name is empty"),
        (".a", "a name is empty"),
        ("[0]", "a name is empty"),
        ("c=b", r"write \= for a ="),
        ("image.tag", "image is a string in the values below, not a mapping"),
        ("a.b", "a is a number in the values below, not a mapping"),
        ("list[0][1]", "list[0] is a number in the values below, not a list"),
        ("list[70000]", "65536 at most"),
        ("list[" + "9" * 900 + "]", "65536 at most"),
        ("list[x]", "a whole number from 0 to 65536"),
        ("list[0", "not closed"),
        ("c\0d", "it has a NUL character"),
    ],
)
def test_an_error_names_the_field_and_the_remedy(key: str, words: str) -> None:
    error = refusal(key)
    assert error.message.startswith(f"spec.set[2].key ({key!r}): ")
    assert words in error.message
    assert (error.reason, error.transient) == (Reason.VALUES_INVALID, False)


def test_an_error_never_quotes_the_value() -> None:
    assert "secret" not in refusal("c", "{secret").message + refusal("c..b").message + refusal("image.tag").message


def test_a_very_long_number_stays_a_text() -> None:
    """Python refuses to convert so many digits; helm leaves what does not fit into 64 bits a text."""
    assert outcome(("a", "9" * 60_000)) == {"a": "9" * 60_000}


def test_indexes_are_limited_like_values() -> None:
    """helm bounds the names in a key, not the indexes."""
    assert "deeper than 100 levels" in refusal("c" + "[0]" * 100).message
    assert outcome(("a" + "[0]" * 99, "x"))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("a", "{" + "," * MAX_TEXTS + "}")], "512 texts"),
        ([(f"{n}", "{" + f"{2**63 - 1}," * 3_000 + "1}") for n in range(20)], "1 MiB of keys and numbers"),
    ],
    ids=["texts", "numbers"],
)
def test_too_many_arguments_are_refused(entries: Entries, words: str) -> None:
    with pytest.raises(ValuesError, match=rf"^spec\.set has more than {words}"):
        flags(entries)


def test_as_many_texts_as_are_allowed_reach_helm(helm_values: Ask) -> None:
    texts = [f"t{number}" for number in range(MAX_TEXTS)]
    assert helm_values(arguments=flags([("a", f"{{{','.join(texts)}}}")]).arguments) == {"a": texts}
