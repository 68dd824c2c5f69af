"""No secret survives in any text that leaves the operator."""

import base64
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.redaction import (
    MASK,
    MIN_SECRET_LENGTH,
    Redactor,
    secrets_in_manifest,
    secrets_in_values,
)

SECRETS = st.text(string.ascii_letters + string.digits + "/+_-!.$", min_size=MIN_SECRET_LENGTH, max_size=40)
TEXTS = st.text(string.printable, max_size=60)


@given(st.lists(SECRETS, min_size=1, max_size=4), TEXTS, TEXTS)
def test_a_known_secret_never_survives(secrets: list[str], before: str, after: str) -> None:
    redact = Redactor(secrets)
    for secret in secrets:
        assert secret not in redact(f"{before}{secret}{after}")
        encoded = base64.b64encode(secret.encode()).decode()
        assert encoded not in redact(f"{before}{encoded}{after}")


@given(st.lists(SECRETS, max_size=3), TEXTS)
def test_redacting_twice_changes_nothing(secrets: list[str], text: str) -> None:
    redact = Redactor(secrets)
    once = redact(text)
    assert redact(once) == once


@given(st.dictionaries(st.sampled_from(["password", "apiKey", "db_token", "clientSecret"]), SECRETS, min_size=1), TEXTS)
def test_values_of_secret_keys_are_secrets_at_any_level(values: dict[str, str], text: str) -> None:
    redact = Redactor(secrets_in_values({"a": [{"b": values}], "image": "nginx"}))
    for secret in values.values():
        assert secret not in redact(text + secret)


def test_secrets_of_all_sources_are_found() -> None:
    redact = Redactor(secrets_in_values({"password": "from-a-file"}, {"auth": {"token": "from-the-spec"}}))
    assert redact("from-a-file, from-the-spec") == "***, ***"


@pytest.mark.parametrize(
    "values",
    [
        {"envFrom": [{"secretRef": {"name": "db-login"}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "db-user"}}}]},
        {"tls": {"secretName": "db-login"}, "auth": {"existingSecret": "db-login"}},
        {"imagePullSecrets": [{"name": "db-login"}]},
    ],
)
def test_the_name_of_a_secret_is_not_a_secret(values: dict[str, object]) -> None:
    """A message that a Secret is missing must say which."""
    text = 'secret "db-login" not found: key db-user'
    assert Redactor(secrets_in_values(values))(text) == text


@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1), SECRETS, min_size=1))
def test_values_of_rendered_secrets_are_secrets(data: dict[str, str]) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    redact = Redactor(
        secrets_in_manifest([{"kind": "Secret", "data": encoded}, {"kind": "ConfigMap", "data": {"a": "b"}}])
    )
    for secret in data.values():
        assert secret not in redact(f"it said {secret} there")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Get https://bob:hunter2@registry.example/v2/", "hunter2"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ('env {"DB_PASSWORD": "hunter2"}', "hunter2"),
        ("password=hunter2, retrying", "hunter2"),
        ("key AKIAABCDEFGHIJKLMNOP refused", "AKIAABCDEFGHIJKLMNOP"),
        ("token ghp_abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwx"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "eyJzdWIiOiIxIn0"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
        (
            "toomanyrequests: You have reached your pull rate limit as 'bob': dckr_jti_abc. Increase it",
            "dckr_jti_abc",
        ),
    ],
)
def test_credentials_are_masked(text: str, secret: str) -> None:
    assert secret not in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        'Kind=Secret: Secret "b" is invalid: data: too long',
        "0/1 nodes are available: 1 Insufficient cpu.",
        'Failed to pull image "registry.example/one:1": not found',
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        'secrets "tls" is forbidden: User "a" cannot get resource "secrets"',
    ],
)
def test_helpful_text_is_not_masked(text: str) -> None:
    assert MASK not in Redactor()(text)


@pytest.mark.parametrize("part", [["hunter2"], "hunter2", 7, None])
def test_an_invalid_secret_is_not_an_error(part: Any) -> None:
    """A chart may render anything, and only the API server refuses it; its failure must still be reported."""
    assert secrets_in_manifest([{"kind": "Secret", "data": part, "stringData": part}]) == set()


@pytest.mark.parametrize("text", ["not base64", "pässword", "gIGB"], ids=["no base64", "no ASCII", "no UTF-8"])
def test_data_that_cannot_be_decoded_is_a_secret_itself(text: str) -> None:
    assert secrets_in_manifest([{"kind": "Secret", "data": {"a": text}}]) == {text}
