"""Large texts of others are read in a worker process, small ones in a thread; and neither holds up the event loop."""

import base64
import gzip
import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from harness.loop_lag import MAX_SECONDS, longest_delay
from managedchart_operator.errors import HelmError
from managedchart_operator.helm import apart
from managedchart_operator.helm.apart import LARGE, read_apart
from managedchart_operator.helm.manifest import ManifestError, outlined, parse_manifest
from managedchart_operator.helm.stored_release import decode, marked, read_secret

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"


async def test_only_large_texts_need_a_process() -> None:
    assert await read_apart(os.getpid, size=LARGE, error=ValueError) == os.getpid()
    assert await read_apart(os.getpid, size=LARGE + 1, error=ValueError) != os.getpid()


async def test_too_much_memory_is_an_error_of_the_input() -> None:
    """S10: the process ends, and not the operator."""
    with pytest.raises(ManifestError, match=r"^it takes too much memory to read$"):
        await read_apart(bytes, 2_000_000_000, size=LARGE + 1, error=ManifestError)


async def test_too_much_time_is_an_error_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_SECONDS", 0.5)
    endless: Callable[[], int] = partial(sum, range(10**12))  # type: ignore[assignment]
    with pytest.raises(ManifestError, match=r"^it takes too much time to read$"):
        await read_apart(endless, size=LARGE + 1, error=ManifestError)


async def test_an_error_of_a_large_text_is_that_of_a_small_one() -> None:
    small, large = HEAD + "x: [\n", HEAD + "x: " + "y" * LARGE + "\nz: [\n"
    for text in (small, large):
        with pytest.raises(ManifestError, match=r"^line \d+: "):
            await read_apart(parse_manifest, text, size=len(text), error=ManifestError)


def forged(document: dict[str, Any]) -> dict[str, Any]:
    """A release Secret that helm did not write."""
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()
    return {"metadata": {"name": "sh.helm.release.v1.a.v1", "labels": {}}, "data": {"release": data}}


def filled(begin: str, part: str, end: str = "") -> str:
    """Return the largest text of this form that is read in a thread."""
    return begin + part * ((LARGE - len(begin) - len(end)) // len(part)) + end


MANIFESTS = {
    "one long text": filled(f"{HEAD}x: ", "y"),
    "quotes": filled(f'{HEAD}x: "', "\\n", '"'),
    "lines": filled(f"{HEAD}x: |\n", " y\n"),
    "empty lines": filled(HEAD, "\n"),
    "comments": filled(HEAD, "#\n"),
    "documents": filled("", "---\n"),
    "lists": filled(f"{HEAD}x: [", "[],", "]"),
    "anchors": filled(f"{HEAD}x: [", "&a b,", "]"),
    "keys": filled(HEAD, "".join(f"k{number}:\n" for number in range(100_000))),
    "binary": filled(f"{HEAD}x: !!binary ", "AAAA"),
    "in a worker": filled(f"{HEAD}x: ", "y") + "y" * LARGE,
}


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=list(MANIFESTS))
async def test_no_manifest_holds_up_the_loop(text: str) -> None:
    """S10: what some hundred bytes of a chart render."""
    for whole in (frozenset[str](), frozenset({"ConfigMap"})):
        read = partial(read_apart, outlined, (text,), whole, size=len(text), error=ManifestError)
        assert await longest_delay(read) <= MAX_SECONDS


RELEASES: dict[str, dict[str, Any]] = {
    "one long text": {"manifest": "x" * (LARGE - 20)},
    "quotes": {"manifest": "\n" * (LARGE // 2 - 20)},
    "lists": {"config": {"a": [[]] * 99_000}},
    "objects": {"config": {"a": [{"a": 1}] * 49_000}},
    "names": {"config": {str(number): 1 for number in range(99_000)}},
    "digits": {"config": {"a": [10**399] * 4000}},
    "hooks": {"hooks": [{"manifest": HEAD}] * 5000},
    "in a worker": {"manifest": "\n" * 7_000_000, "config": {"a": [[]] * 49_000}},
}


@pytest.mark.parametrize("document", RELEASES.values(), ids=list(RELEASES))
async def test_no_release_secret_holds_up_the_loop(document: dict[str, Any]) -> None:
    """S10: some kilobytes that anybody may write who may create Secrets in the namespace."""
    secret = forged(document)
    assert await longest_delay(lambda: read_secret(secret)) <= MAX_SECONDS
    assert await longest_delay(lambda: marked(secret, "failed", None)) <= MAX_SECONDS


async def test_a_large_release_is_read_as_a_small_one_is() -> None:
    for size in (10, LARGE):
        stored = await read_secret(forged({"manifest": HEAD + "#" * size, "info": {"description": "done"}}))
        assert (stored.description, len(stored.manifest)) == ("done", len(HEAD) + size)


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    """Python needs the square of their number to read them; Go writes no such number."""
    with pytest.raises(HelmError, match=r": it has a number with too many digits$"):
        decode(forged({"config": {"a": 10**4000}}))
