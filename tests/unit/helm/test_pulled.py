"""S14: what a server has answered to a pull does not reach a message, a hint or the text of an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.errors.pulled import without_answers

SECRET = "INTERNAL-SECRET-PAGE-CONTENT"
LOOKS = 'looks like "http://h/x?token=q1#f" is not a valid chart repository or cannot be reached: '
GET = 'failed to perform "FetchReference" on source: GET "http://user:pw@h/v2/web/manifests/1.0.0?token=q1": '
ANSWERS = [
    f'{LOOKS}error unmarshaling JSON: while decoding JSON: json: unknown field "{SECRET}"',
    f"{LOOKS}error converting YAML to JSON: yaml: line 2: mapping values: {SECRET}",
    f"{LOOKS}failed to fetch http://h/x/index.yaml?token=q1 : 404 {SECRET}",
    f'{LOOKS}Get "http://h/x/index.yaml?token=q1": malformed HTTP response "{SECRET}"',
    f'{LOOKS}Get "https://h/i": tls: failed to verify certificate: x509: certificate is valid for {SECRET}, not h',
    f"{LOOKS}no chart name found ({SECRET})",
    f"failed to fetch http://u:pw@h/web.tgz?token=q1 : 500 {SECRET}",
    f"{GET}response status code 403: denied: {SECRET}",
    f"{GET}response status code 403: {SECRET}: x: {{}}",
    f'{GET}bearer realm host "{SECRET}" is a loopback, link-local, private, or unspecified address',
    f'{GET}invalid character "{SECRET}"',
    f"{GET}failed to decode response: {SECRET}",
    f'Get "http://h/v2/web/tags/list?token=q1": net/http: HTTP/1.x transport connection broken: malformed header "{SECRET}"',
    f"could not load config with mediatype {SECRET}",
    f"manifest does not contain a layer with mediatype {SECRET}",
    f"{SECRET}: chart not found",
    f'{SECRET}\nchart "web" not found in http://h repository',
]


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_not_repeated(text: str) -> None:
    error = classify(f"Error: {text}\n", exit_code=1, command="pull")
    for shown in (error.message, error.text, error.hint or ""):
        assert SECRET not in shown
        assert "q1" not in shown
        assert "pw" not in shown


@given(st.sampled_from([LOOKS, GET, "", "failed to fetch http://h/x : 404 ", "Error: "]), st.text(max_size=40))
def test_whatever_an_answer_says_is_left_out(before: str, rest: str) -> None:
    for text in (f"{before}{SECRET}{rest}", f"{before}{rest} {SECRET}", f"{before}{rest}\n{SECRET}\n{rest}"):
        assert SECRET not in without_answers(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{GET}response status code 429: toomanyrequests: slow", "response status code 429: Too Many Requests"),
        (f"{GET}basic credential not found", "basic credential not found"),
        ("failed to fetch http://h/web.tgz : 404 Gone Fishing", "failed to fetch http://h/web.tgz : 404 Not Found"),
        ('chart "web" version "2" not found in http://h repository', 'chart "web" version "2" not found'),
        ("write /tmp/x: no space left on device", "no space left on device"),
    ],
)
def test_the_kind_of_the_error_stays(text: str, kept: str) -> None:
    assert kept in without_answers(text)


def test_long_texts_cost_little() -> None:
    """A pattern that is tried from each of its characters costs the square of the text."""
    for unit in ("http://", 'GET "', "dial tcp ", "x509: ", 'chart "', ": "):
        without_answers(f"{LOOKS}{unit * 4000}")
        without_answers(unit * 4000)
