"""Limits of the cost of reading YAML; test_values_conformance.py compares its meaning with helm's."""

import time

import pytest

from managedchart_operator.helm.yaml_reader import MAX_BYTES, Budget, YamlError, read_documents


def read(text: bytes) -> list[object]:
    return [value for _, value in read_documents(text)]


@pytest.mark.parametrize("before", [b"", b"# a comment\n\n", b"\xef\xbb\xbf", b"a: 1\n---\n...\n"], ids=repr)
def test_directives_are_refused_before_they_cost(before: bytes) -> None:
    """libyaml compares each with all before it: these would take minutes, in which nothing else runs."""
    directives = b"".join(b"%%TAG !%d! tag:x\n" % number for number in range(120_000))
    began = time.process_time()
    for text in (before + directives, (before + directives).decode("utf-8-sig").encode("utf-16")):
        if before.endswith(b"...\n"):
            assert read(before + directives) == [{"a": 1}, None]
        else:
            with pytest.raises(YamlError, match="directives"):
                read(text)
    assert time.process_time() - began < 10


def test_a_percent_sign_is_ordinary_text() -> None:
    assert read(b"a: 50%\nb: '%'\nc: |\n  %TAG\n") == [{"a": "50%", "b": "%", "c": "%TAG\n"}]


def test_a_number_of_any_length_is_read() -> None:
    """Python refuses to read thousands of digits; helm takes them for a text, since no number holds them."""
    digits = "1" * 10_000
    assert read(f"a: {digits}\nb: -{digits}\nc: 0x{'f' * 10_000}\nd: 1.{digits}\n".encode()) == [
        {"a": digits, "b": f"-{digits}", "c": f"0x{'f' * 10_000}", "d": 10 / 9}
    ]


def test_documents_have_their_first_line() -> None:
    assert list(read_documents(b"a: 1\n---\nb: 2\n--- # c\n---\nd: 4")) == [
        (1, {"a": 1}),
        (2, {"b": 2}),
        (4, None),
        (5, {"d": 4}),
    ]


def test_a_budget_is_shared_and_spent() -> None:
    budget = Budget(bytes=100, nodes=30)
    assert list(read_documents(b"[1, 2, 3]", budget)) == [(1, [1, 2, 3])]
    with pytest.raises(YamlError, match="values"):
        list(read_documents(b"[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]", budget))
    with pytest.raises(YamlError, match="more than 99 bytes"):
        list(read_documents(b"#" * 100, Budget(bytes=99)))
    with pytest.raises(YamlError, match="MiB"):
        list(read_documents(b"#" * (MAX_BYTES + 1)))


def test_aliases_spend_what_they_expand_to() -> None:
    """A few bytes that everybody who walks through the values would walk through again and again."""
    text = b"a: &a [" + b"1," * 30_000 + b"]\nb: [" + b"*a," * 17 + b"]\n"
    with pytest.raises(YamlError, match="more than 250000 values"):
        read(text)
