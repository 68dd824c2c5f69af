"""The names are a help beside helm's error; that they cannot be had is told, and changes nothing of the error."""

import asyncio
import json

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.too_large import what_is_biggest

ERROR = HelmError("The release is too large", reason=Reason.RELEASE_TOO_LARGE, transient=False, text="Too long")


async def printed(output: bytes) -> HelmOutput:
    return HelmOutput(output, "", 0)


def hidden(text: str) -> str:
    return text.replace("hunter2", "***")


async def test_the_biggest_parts_stand_behind_helms_own_error() -> None:
    output = json.dumps({"manifest": "---\n# Source: web/templates/a.yaml\n" + "x" * 4064}).encode()
    findings = await what_is_biggest(lambda: printed(output), redact=hidden)
    error = explain(ERROR, findings, redact=hidden)
    assert error.message == ("The release is too large; the biggest (before compression): web/templates/a.yaml 4 KiB")
    assert error.reason is Reason.RELEASE_TOO_LARGE
    assert findings.incomplete is None


async def test_a_dry_run_that_fails_is_told_redacted_and_leaves_the_error() -> None:
    async def refused() -> HelmOutput:
        raise HelmError("no template with hunter2", reason=Reason.TEMPLATE_ERROR, transient=False)

    findings = await what_is_biggest(refused, redact=hidden)
    assert findings.incomplete == "what is biggest in the release could not be found out: no template with ***"
    assert explain(ERROR, findings, redact=hidden).message == ERROR.message


async def test_a_dry_run_that_takes_too_long_is_ended_and_told() -> None:
    ended = False

    async def hanging() -> HelmOutput:
        nonlocal ended
        try:
            return await asyncio.Future[HelmOutput]()
        finally:
            ended = True

    findings = await what_is_biggest(hanging, redact=hidden, seconds=0.01)
    assert ended
    assert "did not end within" in (findings.incomplete or "")


async def test_an_output_that_was_cut_off_is_told() -> None:
    findings = await what_is_biggest(lambda: printed(b'{"manifest": "---'), redact=hidden)
    assert "helm's dry run cannot be read" in (findings.incomplete or "")
