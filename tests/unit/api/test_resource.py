"""What is taken from an object of the API."""

from managedchart_operator.api.resource import REQUEST_LENGTH, RETRY_ANNOTATION, ManagedChart


def requests(value: str) -> dict[str, str]:
    meta = {"namespace": "apps", "name": "web", "uid": "u", "annotations": {RETRY_ANNOTATION: value, "theirs": "x"}}
    return ManagedChart.from_body({"metadata": meta}).requests


def test_a_request_is_kept_as_it_is_written() -> None:
    assert requests("2026-01-01T12:00:00Z") == {RETRY_ANNOTATION: "2026-01-01T12:00:00Z"}


def test_of_a_long_request_a_digest_is_kept() -> None:
    """It stands in the status, and an annotation may have 256 KiB; another request is still another one."""
    first, second = (requests("x" * 200_000 + end)[RETRY_ANNOTATION] for end in "ab")
    assert first != second
    assert max(len(first), len(second)) <= REQUEST_LENGTH
    assert requests("x" * 200_000 + "a")[RETRY_ANNOTATION] == first
