"""What a foreign server has answered does not reach a message, a hint or the text of an error."""

from pathlib import Path

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.errors.foreign import without_foreign_content, without_login
from managedchart_operator.reasons import Reason

# In these recorded outputs the server's answers, and the passwords in addresses, contain this word.
SECRET = "s3cret"
OUTPUTS = sorted((Path(__file__).parent / "outputs").glob("schema-reference-*.txt"))
HEAD = "values don't meet the specifications of the schema(s) in the following chart(s):\n"


def error_of(text: str) -> HelmError:
    return classify(f"Error: {text}", exit_code=1, command="upgrade")


def by_schema(text: str) -> HelmError:
    return error_of(f"{HEAD}web:\n{text}")


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
def test_a_foreign_answer_is_not_repeated(path: Path) -> None:
    error = classify(path.read_text().partition("\n")[2], exit_code=1, command="upgrade")
    for text in (error.message, error.text, error.hint or ""):
        assert SECRET not in text
        assert "invalid character" not in text


def test_some_recorded_answers_have_the_word() -> None:
    """Otherwise the test above would show nothing."""
    texts = [path.read_text().replace(f"token={SECRET}", "") for path in OUTPUTS]
    assert sum(SECRET in text for text in texts) >= 4


@pytest.mark.parametrize(
    "why",
    [
        'invalid regex "s3cret" at "http://host/a.json#/pattern": error parsing regexp',
        'duplicate id "s3cret" in "http://host/a.json" at "/a" and "/b"',
        "\"http://host/a.json#\" is not valid against metaschema: x\n- at '/id': 's3cret' is not valid uri\n  - at '': s3cret",
        'failing loading "http://host/a.json": json: unknown field "s3cret"',
        'failing loading "http://host/a.json": HTTP request failed for http://host/a.json: Get "http://s3cret/": new s3cret',
        'failing loading "http://host/a.json": HTTP request to http://host/a.json returned status 418 (s3cret 1)',
    ],
)
def test_texts_that_quote_an_answer_are_replaced(why: str) -> None:
    error = by_schema(why)
    assert error.reason in (Reason.CHART_INVALID, Reason.CHART_SOURCE_UNAVAILABLE)
    assert "host/a.json" in error.message
    assert "s3cret" not in error.message + error.text


def test_what_the_own_schema_refuses_stays() -> None:
    """Also beside a foreign schema that cannot be used."""
    foreign = "\"http://h/a.json#\" is not valid against metaschema: x\n- at '/type': hidden\n"
    text = f"{HEAD}web:\n{foreign}sub:\n- at '/a': shown\n"
    assert (
        without_foreign_content(text)
        == f"{HEAD}web:\n\"http://h/a.json#\" cannot be used as a schema\nsub:\n- at '/a': shown\n"
    )


def test_values_of_a_wrong_type_for_a_subchart_are_refused_values() -> None:
    error = error_of(f"{HEAD}sub:\ninvalid type for values: expected object (map), got string\n")
    assert error.reason is Reason.VALUES_REFUSED
    assert error.message == (
        "The chart's schema refuses the values: sub: invalid type for values: expected object (map), got string"
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/a.json", "https://host/a.json"),
        ("https://me:s3cret@host:8443/a@b.json", "https://host:8443/a@b.json"),
        ("https://host/a.json?token=s3cret", "https://host/a.json?…"),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_an_address_is_shown_without_a_password(address: str, shown: str) -> None:
    assert without_login(address) == shown
