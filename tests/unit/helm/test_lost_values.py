"""Which values of a release no longer apply under other values."""

from typing import Any

import pytest

from managedchart_operator.helm.values import lost_values


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        ({}, {"a": 1}, []),
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {}, ["a"]),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"image": {"tag": "1", "name": "web"}}, {"image": {"tag": "2", "name": "web"}}, ["image.tag"]),
        ({"resources": {"limits": {"cpu": 1}}}, {"resources": {"requests": {}}}, ["resources.limits"]),
        ({"resources": {"limits": {"cpu": 1}}}, {}, ["resources"]),
        ({"resources": {"limits": {"cpu": 1}}}, {"resources": None}, ["resources"]),
        ({"hosts": ["a", "b"]}, {"hosts": ["a"]}, ["hosts"]),
        ({"hosts": [{"name": "a"}]}, {"hosts": [{"name": "a"}]}, []),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        ({"a": 1}, {"a": {"b": 1}}, ["a"]),
        ({"a": 1.0}, {"a": 1}, []),
        ({"a": 1}, {"a": "1"}, ["a"]),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": None}, {"a": None}, []),
        ({"a": {}}, {}, []),
        ({"a": {}}, {"a": 1}, ["a"]),
        ({"b": 1, "a": {"d": 1, "c": 2}}, {}, ["a", "b"]),
        ({"a.b": 1, "c\\d": {"e": 1}}, {"c\\d": {"e": 2}}, ["a\\.b", "c\\\\d.e"]),
    ],
)
def test_missing_and_changed_values_are_named(before: dict[str, Any], now: dict[str, Any], lost: list[str]) -> None:
    assert list(lost_values(before, now)) == lost


def test_no_value_is_part_of_a_path() -> None:
    assert list(lost_values({"password": "correct horse", "users": ["alice"]}, {})) == ["password", "users"]


@pytest.mark.parametrize("key", ["a", "k" * 100_000], ids=["deep", "long"])
def test_paths_stay_short_for_any_keys(key: str) -> None:
    before: dict[str, Any] = {"end": 1}
    now: dict[str, Any] = {"end": 2}
    for _ in range(100):
        before, now = {key: before}, {key: now}
    [path] = lost_values(before, now)
    assert path.startswith(key[:50])
    assert len(path) < 2200
