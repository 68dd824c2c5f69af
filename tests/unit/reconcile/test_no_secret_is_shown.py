"""No part of a secret reaches the status, an Event or the log, whatever helm, the API server or a plug-in reports.

Each text goes the whole way: from the process, or the exception, through classification and shortening to what is written.
"""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from managedchart_operator.app.logs import configure
from managedchart_operator.errors import LifecycleError
from managedchart_operator.lifecycle import lifecycles
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.reconcile import reconciler
from unit.reconcile.world import MANIFEST, World
from unit.redaction_texts import FORMS, SECRETS, left_of

PLACES = ["in values", "in a rendered Secret"]
SECRET = 'blue  horse "battery" st\\aple'


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """The operator's log, with its filters."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure(level="DEBUG", form="json")
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)


def world_with(secret: str, place: str) -> World:
    """A release that has a secret."""
    world = World()
    rendered = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "stringData": {"any": secret}}
    if place == "in values":
        world.put({"values": {"auth": {"password": secret}}})
    else:
        world.put()
        world.secrets.manifest = f"{MANIFEST}---\n{json.dumps(rendered, ensure_ascii=False)}\n"
    return world


def shown(world: World) -> str:
    """All that was ever written about the resource."""
    texts = [message for _, _, message in world.events.posted]
    pending: list[object] = list(world.api.patches)
    while pending:
        match pending.pop():
            case str(text):
                texts.append(text)
            case dict(mapping):
                pending += mapping.values()
            case list(items):
                pending += items
    return "\n".join(texts)


HELM_TEXTS = {
    "a field": 'server-side apply failed for object apps/web apps/v1, Kind=Deployment: Deployment.apps "web" is invalid: '
    "spec.template: Invalid value: {}: must be a number\n",
    "a template": 'template: web/templates/a.yaml:3:4: executing "a" at <fail>: error calling fail: {}\n',
    "anything": "{}\n",
    "an object": "resource Widget/apps/web not ready. status: Failed, message: it said {}\ncontext deadline exceeded\n",
    "a schema": "values don't meet the specifications of the schema(s) in the following chart(s):\nweb:\n"
    "- at '/a': {} does not match pattern '^a$'\n",
}


@given(
    SECRETS,
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(PLACES),
    st.tuples(st.sampled_from(sorted(HELM_TEXTS)), st.integers(0, 5000), st.booleans()),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
async def test_helms_error_shows_no_part_of_a_secret(
    secret: str, form: str, place: str, error: tuple[str, int, bool]
) -> None:
    """Also where its text is cut, in the middle of the secret, at 512, 1,024, 2,048 or 4,096 characters."""
    about, length, before = error
    written, filler = FORMS[form](secret), ("word " * 1000)[:length]
    without, world = world_with("another-Xy1", place), world_with(secret, place)
    for each, part in ((without, ""), (world, written)):
        text = HELM_TEXTS[about].replace("{}", f"{filler} {part}" if before else f"{part} {filler}")
        each.helm.refusals["upgrade"] = [f"Error: UPGRADE FAILED: {text}"]
        await each.reconcile()
        assert each.status["phase"] == "Failed"
    assume(not left_of(secret, shown(without)))  # a word of the operator's own sentences
    assert not left_of(secret, shown(world))


@pytest.mark.parametrize("place", PLACES)
async def test_a_folded_message_shows_no_secret(place: str) -> None:
    """White space that is folded made it unknown (seen)."""
    world = world_with("correct  horse  battery", place)
    world.helm.refusals["upgrade"] = ["Error: UPGRADE FAILED: it is correct  horse  battery, no\n"]
    await world.reconcile()
    assert world.status["lastFailure"]["message"] == "Helm upgrade failed: it is ***, no"
    assert world.status["lastFailure"]["helmError"] == "it is ***, no"


async def test_names_stay_where_a_secret_has_the_same_word() -> None:
    """grafana has `admin-user: admin`, and its release was `admin-tools` (seen): no hint could be pasted."""
    world = World()
    world.put({"values": {"auth": {"password": "web", "secret": "apps", "token": "admin"}}})
    text = 'Error: UPGRADE FAILED: Deployment.apps "admin-web" is invalid: spec.credential: Invalid value: "b": not an object\n'
    world.helm.refusals["upgrade"] = [text]
    await world.reconcile()
    assert world.status["lastFailure"]["helmError"] == (
        'Deployment.apps "admin-web" is invalid: spec.credential: Invalid value: ***: not an object'
    )
    assert world.status["lastFailure"]["message"] == "Deployment admin-web: spec.credential: not an object"


class Telling(Lifecycle):
    """A plug-in that repeats what it has read."""

    def __init__(self, phase: str, error: Exception) -> None:
        self._phase, self._error = phase, error

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        if self._phase == "pre_exec":
            raise self._error
        return payload

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        context.recorder.warn("Told", f"The login is {SECRET}")
        if context.spec.values:  # what only the release has is not known to the log
            context.logger.warning("it is %s", SECRET)
        if self._phase == "validate":
            raise self._error
        return payload

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: Exception) -> Payload:
        await super().on_deploy_failure(context, payload, error)  # type: ignore[arg-type]
        if self._phase == "on_deploy_failure":
            raise self._error
        return payload


@pytest.mark.parametrize("phase", ["pre_exec", "validate"])
@pytest.mark.parametrize(
    "error", [LifecycleError(f"not {SECRET}"), RuntimeError(f"not {SECRET}")], ids=["its own", "any"]
)
@pytest.mark.parametrize("place", PLACES)
async def test_a_plug_ins_error_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, logged: io.StringIO, place: str, error: Exception, phase: str
) -> None:
    """Neither in the status of its phase, nor in the failure, the Events and the traceback in the log."""
    monkeypatch.setattr(lifecycles, "find_lifecycle", lambda _: Telling(phase, error))
    world = world_with(SECRET, place)
    if place != PLACES[0]:
        world.secrets.add("deployed", {"managedchart.dev/owner": "uid-web", "managedchart.dev/attempt": "1.word"})
    await world.reconcile()
    [failed] = [entry for entry in world.status["phases"] if entry["state"] == "Failed"]
    assert failed["message"].endswith("not ***")
    assert world.status["lastFailure"]["message"].endswith("not ***")
    for text in (shown(world), logged.getvalue(), *(json.loads(line).get("exc_info", "") for line in _lines(logged))):
        assert not left_of(SECRET, text)
    assert ("RuntimeError: not ***" in logged.getvalue()) is isinstance(error, RuntimeError)


async def test_a_defect_shows_no_secret(monkeypatch: pytest.MonkeyPatch, logged: io.StringIO) -> None:
    """Also where nothing expects an exception."""

    async def breaks(*_: object) -> None:
        raise RuntimeError(f"not {SECRET}")

    monkeypatch.setattr(reconciler.LifecycleRuns, "run", breaks)
    world = world_with(SECRET, PLACES[0])
    await world.reconcile()
    assert world.status["lastFailure"]["message"] == "Unhandled error: RuntimeError: not ***"
    assert "Traceback" in logged.getvalue()
    assert not left_of(SECRET, shown(world) + logged.getvalue())


def _lines(logged: io.StringIO) -> list[str]:
    return logged.getvalue().splitlines()
