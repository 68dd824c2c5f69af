"""The parts of an API object that the operator keeps."""

from managedchart_operator.api.resource import REQUEST_LENGTH, RETRY_ANNOTATION, ManagedChart


def requests(value: str) -> dict[str, str]:
    meta = {"namespace": "apps", "name": "web", "uid": "u", "annotations": {RETRY_ANNOTATION: value, "theirs": "x"}}
    return ManagedChart.from_body({"metadata": meta}).requests


def test_a_short_request_is_kept_unchanged() -> None:
    assert requests("2026-01-01T12:00:00Z") == {RETRY_ANNOTATION: "2026-01-01T12:00:00Z"}


def test_a_long_request_is_kept_as_a_digest() -> None:
    """It is part of the status, and an annotation may have 256 KiB; different requests stay different."""
    first, second = (requests("x" * 200_000 + end)[RETRY_ANNOTATION] for end in "ab")
    assert first != second
    assert max(len(first), len(second)) <= REQUEST_LENGTH
    assert requests("x" * 200_000 + "a")[RETRY_ANNOTATION] == first
