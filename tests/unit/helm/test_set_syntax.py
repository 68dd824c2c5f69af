"""What `spec.set` promises beyond helm's own --set, and how its errors read."""

from copy import deepcopy

import pytest

from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.set_syntax import apply_set
from managedchart_operator.reasons import Reason


def refusal(key: str, value: str = "secret") -> ValuesError:
    with pytest.raises(ValuesError) as caught:
        apply_set({"image": "x", "list": [1]}, key=key, value=value, field="spec.set[2]")
    return caught.value


def test_a_comma_in_a_value_is_a_comma() -> None:
    """--set would take what follows for the next key."""
    assert apply_set({}, key="a", value="x,b=y", field="f") == {"a": "x,b=y"}
    assert apply_set({}, key="a", value=r"x\,b=y", field="f") == {"a": "x,b=y"}


def test_an_empty_value_in_a_new_list_is_kept() -> None:
    """helm 4.3.1 loses it: --set 'a[0].b=' gives an empty list."""
    assert apply_set({}, key="a[0].b", value="", field="f") == {"a": [{"b": ""}]}


def test_the_values_given_are_not_changed() -> None:
    values = {"a": {"b": [1, {"c": 1}]}}
    before = deepcopy(values)
    assert apply_set(values, key="a.b[1].c", value="2", field="f") == {"a": {"b": [1, {"c": 2}]}}
    assert values == before


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "a name is empty"),
        ("a..b", "a name is empty"),
        (".a", "a name is empty"),
        ("[0]", "a name is empty"),
        ("a=b", r"write \= for a ="),
        ("image.tag", "image is a string in the values below, not a mapping"),
        ("list[0][1]", "list[0] is a number in the values below, not a list"),
        ("list[70000]", "65536 at most"),
        ("list[" + "9" * 900 + "]", "65536 at most"),
        ("list[x]", "a whole number from 0 to 65536"),
        ("list[0", "not closed"),
    ],
)
def test_an_error_names_the_field_and_the_remedy(key: str, words: str) -> None:
    error = refusal(key)
    assert error.message.startswith(f"spec.set[2].key ({key!r}): ")
    assert words in error.message
    assert (error.reason, error.transient) == (Reason.VALUES_INVALID, False)


def test_an_error_never_tells_the_value() -> None:
    assert "secret" not in refusal("a", "{secret").message + refusal("a..b").message


def test_a_very_long_number_stays_a_text() -> None:
    """Python refuses to convert so many digits; helm leaves what does not fit into 64 bits a text."""
    assert apply_set({}, key="a", value="9" * 60_000, field="f") == {"a": "9" * 60_000}


def test_a_key_of_many_indexes_goes_no_deeper_than_values_may() -> None:
    """helm bounds the names in a key, not the indexes."""
    assert "deeper than 100 levels" in refusal("a" + "[0]" * 100).message
    assert apply_set({}, key="a" + "[0]" * 99, value="x", field="f")
