"""The recorded excerpts in docs/failures have the sentences of the present code.

An excerpt is recorded from a real API server, which unit tests cannot do. So each sentence that is the operator's own is looked
up in the code: if it was reworded, no part of it stands there any more.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXCERPTS = sorted((ROOT / "docs" / "failures").glob("*.yaml"))
# Shorter parts, like "failed: ", stand in many sentences.
FEWEST_WORDS = 2
# Whose message is in the words of the API server, of the chart or of a plug-in.
OF_OTHERS = ("ApiUnavailable", "ImmutableField", "LifecycleFailed", "ObjectInvalid", "TemplateError")
THEIRS = ("Ready", "message", "hint")


@cache
def parts() -> frozenset[str]:
    """The literal parts of all texts in the code, those of f-strings included."""
    found = set()
    for path in (ROOT / "operator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {
                    part for part in re.split(r"\{\w*\}|\n", node.value.strip()) if len(part.split()) >= FEWEST_WORDS
                }
    return frozenset(found)


def sentences(excerpt: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The operator's own sentences, with where they stand."""
    status = excerpt["status"]
    for condition in status["conditions"]:
        yield condition["type"], condition["message"]
    for key in ("message", "hint"):
        if text := status["lastFailure"].get(key):
            yield key, text
    if event := excerpt.get("event"):
        yield "event", event["message"]


@pytest.mark.parametrize("file", EXCERPTS, ids=lambda file: file.stem)
def test_an_excerpt_has_the_sentences_of_the_code(file: Path) -> None:
    """Else: record it again, as tests/e2e/diagnosis/test_excerpts.py says."""
    strange = {
        where: text
        for where, text in sentences(yaml.safe_load(file.read_text()))
        if not any(part in text for part in parts()) and not (file.stem in OF_OTHERS and where in THEIRS)
    }
    assert strange == {}
