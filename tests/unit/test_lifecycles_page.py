"""docs/lifecycles.md: its examples work, its tables are complete. test_plugins_page.py has what authors of plug-ins read."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import LifecycleError, SpecError
from managedchart_operator.lifecycle.actions import expressions
from managedchart_operator.lifecycle.actions.envelope import ActionPhase
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.registry import VERBS, phases_of, verb_of
from managedchart_operator.lifecycle.actions.verb import Expression
from managedchart_operator.lifecycle.registry import BUILT_IN
from unit.lifecycle.actions.stage import run, stored
from unit.lifecycle.fakes import FakeRelease, bench

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lifecycles.md").read_text()


def test_every_built_in_lifecycle_is_listed() -> None:
    assert BUILT_IN.keys() <= set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))


VERB_SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE.partition("## Verbs")[2], re.DOTALL | re.MULTILINE))


def test_every_verb_has_a_section() -> None:
    """In alphabetical order, to be found."""
    listed = [name for name in VERB_SECTIONS if name in VERBS]

    assert listed == list(VERBS)


def test_the_table_of_verbs_says_what_kubectl_explain_says() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    changing = [each.value for each in ActionPhase if each is not ActionPhase.VALIDATE]
    words = {tuple(ActionPhase): "all", tuple(changing): "all except Validate"}

    assert rows == [
        (name, name.lower(), verb.__doc__, words.get(tuple(phases_of(verb)), ", ".join(phases_of(verb))))
        for name, verb in VERBS.items()
    ]


TUTORIAL = PAGE.partition("\n## First actions\n")[2].partition("\n## ")[0]


async def test_the_first_actions_do_what_the_page_shows() -> None:
    """The ManagedChart is valid, and the statuses in the page are those of its actions."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
    spec = ManagedChartSpec.model_validate(yaml.safe_load(text)["spec"])
    quota, owner, replicas = spec.lifecycle.actions
    release = FakeRelease(name="podinfo", namespace="podinfo")
    meta = {"name": "podinfo", "namespace": "podinfo"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "status": {"readyReplicas": 1}}
    made = bench(cluster=stored(deployment), release=release)

    with pytest.raises(LifecycleError) as failed:
        await run(quota, phase=Phase.CHECK_PREREQUISITES, on=made)
    assert failed.value.message in TUTORIAL

    made.cluster.objects |= stored({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta}).objects
    for action in (quota, owner, replicas):
        await run(action, phase=Phase(action["phase"]), on=made)
        done = made.recorder.actions[action["name"]]
        assert f"{done.name}: {done.state.value}, {done.message}\n" in TUTORIAL


EXPRESSIONS = PAGE.partition("\n### Expressions\n")[2].partition("\n### ")[0]


async def test_the_expressions_compile() -> None:
    cells = "".join(
        line.split("|")[2] for line in EXPRESSIONS.splitlines() if line.startswith("| ") and "Write" not in line
    )
    found = [each for each in re.findall(r"`([^`]+)`", cells) if "o." in each or "o," in each]
    assert len(found) == 6

    for each in found:
        text = each.replace("…", "true") if each.startswith("objects") else f"objects.exists(o, {each})"
        assert await expressions.problem(Expression("expr", text, ("objects",))) == ""


MISTAKES = PAGE.partition("\n### Typical mistakes\n")[2].partition("\n### ")[0]


def _with(field: str) -> dict[str, Any]:
    """An action that has a field of the table in the place to which it belongs."""
    (name, value), *_ = yaml.safe_load(field).items()
    action = {"name": "a", "phase": "PostExec"}
    verbs: dict[str, Any] = {
        "apiVersion": {"exists": {"apiVersion": value, "kind": "Certificate"}},
        "kind": {"exists": {"kind": value}},
        "selector": {"exists": {"kind": "Pod", "selector": value}},
        "helmTest": {"helmTest": value},
    }
    return {**action, **verbs.get(name, {name: value, "exists": {"kind": "Node"}})}


async def test_typical_mistakes_are_refused_and_their_corrections_accepted() -> None:
    rows = [line.split("|") for line in MISTAKES.splitlines() if line.startswith("| `") and ":" in line.split("|")[1]]
    assert len(rows) == 6

    for row in rows:
        for wrong in re.findall(r"`([^`]+)`", row[1]):
            with pytest.raises(SpecError):
                await read_actions([_with(wrong)])
        for right in re.findall(r"`([^`]+)`", row[2]):
            await read_actions([_with(right)])


@pytest.mark.parametrize("verb", VERBS)
async def test_the_examples_of_a_verb_can_be_read(verb: str) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", VERB_SECTIONS[verb], re.DOTALL | re.MULTILINE)

    actions = await read_actions(yaml.safe_load(example))

    assert verb in {verb_of(each).verb for each in actions}


NEEDS = PAGE.partition("\n## What platform charts need\n")[2].partition("\n## ")[0]


def test_the_tests_and_profiles_of_the_table_exist() -> None:
    rows = [line.strip("|").split("|") for line in NEEDS.splitlines() if line.startswith("| ")][1:]
    tests = {name for row in rows for name in re.findall(r"`([^`]+\.py)`", row[3])}
    profiles = {name for row in rows for name in re.findall(r"profile `([^`]+)`", row[2])}

    assert [name for name in tests if not (ROOT / "tests" / "e2e" / name).exists()] == []
    assert profiles == {file.stem for file in (ROOT / "deploy" / "lifecycles").glob("*.yaml")} - {"kustomization"}
    assert all(row[3].strip() or "**Not covered**" in row[2] for row in rows)


async def test_the_actions_of_the_table_can_be_read() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", NEEDS, re.DOTALL | re.MULTILINE)

    actions = await read_actions(yaml.safe_load(text))

    assert [each.name for each in actions if f"`{each.name}`" not in NEEDS.partition("```yaml")[0]] == []
