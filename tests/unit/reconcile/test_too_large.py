"""The names complement helm's error; if they are unknown, that is reported, and helm's error stays."""

import asyncio
import json

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.operations.dry_run import largest_parts

ERROR = HelmError("The release is too large", reason=Reason.RELEASE_TOO_LARGE, transient=False, text="Too long")


async def printed(output: bytes) -> HelmOutput:
    return HelmOutput(output, "", 0)


def hidden(text: str) -> str:
    return text.replace("hunter2", "***")


async def test_the_largest_parts_are_named() -> None:
    output = json.dumps({"manifest": "---\n# Source: web/templates/a.yaml\n" + "x" * 4064}).encode()
    findings = await largest_parts(lambda: printed(output), redact=hidden)
    error = explain(ERROR, findings, redact=hidden)
    assert error.message == ("The release is too large; the biggest (before compression): web/templates/a.yaml 4 KiB")
    assert error.reason is Reason.RELEASE_TOO_LARGE
    assert findings.incomplete is None


async def test_a_failed_dry_run_is_reported_redacted() -> None:
    async def refused() -> HelmOutput:
        raise HelmError("no template with hunter2", reason=Reason.TEMPLATE_ERROR, transient=False)

    findings = await largest_parts(refused, redact=hidden)
    assert findings.incomplete == "Could not determine the largest parts of the release: no template with ***"
    assert explain(ERROR, findings, redact=hidden).message == ERROR.message


async def test_a_slow_dry_run_is_ended_and_reported() -> None:
    ended = False

    async def hanging() -> HelmOutput:
        nonlocal ended
        try:
            return await asyncio.Future[HelmOutput]()
        finally:
            ended = True

    findings = await largest_parts(hanging, redact=hidden, seconds=0.01)
    assert ended
    assert "did not end within" in (findings.incomplete or "")


async def test_a_truncated_output_is_reported() -> None:
    findings = await largest_parts(lambda: printed(b'{"manifest": "---'), redact=hidden)
    assert "Helm's dry run cannot be read" in (findings.incomplete or "")
