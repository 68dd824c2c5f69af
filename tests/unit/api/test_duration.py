"""Durations: read as Go reads them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from managedchart_operator.api.duration import DURATION_LENGTH, DURATION_PATTERN, Duration, seconds

# Go's time.Duration counts nanoseconds in 63 bits.
GO_LONGEST_SECONDS = (2**63 - 1) / 1e9


@pytest.mark.parametrize(
    ("written", "expected"),
    [("180s", 180), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("1.5h", 5400), ("1m1m", 120), ("0s", 0)],
)
def test_reads(written: str, expected: float) -> None:
    assert seconds(written) == expected


@pytest.mark.parametrize("written", ["", "180", "s", "-5s", "1d", "5 m", "1h 30m", "5m\n", "1e3s", ".5s", "5.s", "٣s"])
def test_an_invalid_duration_is_refused_with_examples(written: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it like 180s, 5m or 1h30m"):
        seconds(written)


# Of the whole pattern, hypothesis would make texts of any length, of which few are short enough.
one_part = DURATION_PATTERN.removeprefix("^").removesuffix("+$")
parts = st.from_regex(one_part, fullmatch=True)


def test_zero_is_not_a_duration_of_a_spec() -> None:
    with pytest.raises(ValidationError, match="must be longer than zero"):
        TypeAdapter(Duration).validate_python("0h0m0s")


@given(st.lists(parts, min_size=1, max_size=4).map("".join).filter(lambda text: len(text) <= DURATION_LENGTH))
def test_a_duration_needs_a_digit_that_is_not_zero(written: str) -> None:
    """The CRD's rule searches for such a digit; the model counts seconds. Both must agree."""
    assert re.fullmatch(DURATION_PATTERN, written)
    positive = re.search("[1-9]", written) is not None

    try:
        TypeAdapter(Duration).validate_python(written)
    except ValidationError:
        assert not positive
    else:
        assert positive


def test_no_accepted_duration_overflows_go() -> None:
    """The longest that fit: the highest number of hours, as often as the length allows."""
    number = "999999"
    for text in (f"{number}h{number}h", f"{number}.9h{number}h"):
        assert len(text) <= DURATION_LENGTH
        assert seconds(text) < GO_LONGEST_SECONDS

    assert len(f"{number}h" * 3) > DURATION_LENGTH
