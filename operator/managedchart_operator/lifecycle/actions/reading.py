"""Reads actions as they are stored, and says what is wrong with them before anything runs.

The API server refuses most of that at `kubectl apply`, but keeps fields that it does not know, and GitOps tools apply without
strict validation. So unknown fields are errors here: what misses a selector because of a misspelt word must not run.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError

from managedchart_operator.api.schema import field_names, nearest
from managedchart_operator.errors import ActionsError
from managedchart_operator.lifecycle.actions import expressions
from managedchart_operator.lifecycle.actions.envelope import ActionPhase, Envelope, OnError
from managedchart_operator.lifecycle.actions.registry import VERBS, WHICH, Action, phases_of, verb_of, verbs_in
from managedchart_operator.lifecycle.actions.verb import NAMES_OF_RELEASE, Expression
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut

SPEC_ACTIONS = "spec.lifecycle.actions"
_HINT = "Correct the named fields; docs/lifecycles.md has every verb with an example."
_NOTHING_OF_TENANT = (
    "as the profile has a serviceAccount, the expression sees nothing of the ManagedChart except"
    f" {' and '.join(NAMES_OF_RELEASE)}"
)
_OF_DEPLOYMENTS = frozenset(
    each.value for each in ActionPhase if each not in (ActionPhase.PRE_DELETE, ActionPhase.POST_DELETE)
)
# A person corrects the first few; a condition's message has a bound.
_NAMED = 8
# The API server keeps a hundred thousand unknown fields as well, and a name of a megabyte; to list them takes a second.
_MOST_WRONG = 100
_LONGEST_NAME = 64


async def read_actions(
    raw: Sequence[Mapping[str, Any]], *, where: str = SPEC_ACTIONS, foreign: bool = False
) -> tuple[Envelope, ...]:
    """Return the actions. `where` is the path of their list.

    `foreign` says that they run as the account of a profile, so that nothing of the tenant may enter them. Raises ActionsError
    (LIFECYCLE_INVALID) that names each problem.
    """
    actions: dict[int, Envelope] = {}
    problems: list[_Problem] = []
    for number, item in enumerate(raw):
        place = f"{where}[{number}]" + (f" ({item['name']})" if isinstance(item.get("name"), str) else "")
        try:
            action = Action.model_validate(item)
        except ValidationError as error:
            problems += [_Problem(each, (number,)) for each in _wrong(error, place)]
            continue
        problems += [_Problem(f"{place}: {each}", (number,)) for each in _problems(action, foreign=foreign)]
        actions[number] = action
    problems += _named_twice(actions, where)
    for also in (_without_partner, partial(_with_wrong_expression, foreign=foreign)):
        problems += [each async for each in also(_valid(actions, problems), where)]
    if problems:
        at_deletion = [
            each.text for each in problems if any(matters_at_deletion(raw[number]) for number in each.numbers)
        ]
        raise _error([each.text for each in problems], _valid(actions, problems).values(), at_deletion)
    return tuple(actions.values())


def matters_at_deletion(item: Mapping[str, Any]) -> bool:
    """Whether an invalid action is, or may be, around an uninstall, where its failure would block that: it may save data."""
    return item.get("onError") != OnError.CONTINUE and str(item.get("phase")) not in _OF_DEPLOYMENTS


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong with one action, or with several, by their numbers in the list."""

    text: str
    numbers: tuple[int, ...]


def _valid(actions: Mapping[int, Envelope], problems: Sequence[_Problem]) -> dict[int, Envelope]:
    """Return the actions without those that have a problem."""
    wrong = {number for each in problems for number in each.numbers}
    return {number: action for number, action in actions.items() if number not in wrong}


def _wrong(error: ValidationError, place: str) -> list[str]:
    """Return what is wrong with the fields of an action."""
    if (found := error.error_count()) > _MOST_WRONG:
        return [f"{place}: {found} fields are wrong: compare it with docs/lifecycles.md"]
    return [
        f"{place}{_path(each['loc'])}: {_message(each['type'], each['msg'], each['loc'])}" for each in error.errors()
    ]


def _error(problems: Sequence[str], valid: Iterable[Envelope], at_deletion: Sequence[str]) -> ActionsError:
    """Return the error for problems of actions, each with its field."""
    return ActionsError(
        first_of(problems), reason=Reason.LIFECYCLE_INVALID, hint=_HINT, valid=tuple(valid), at_deletion=at_deletion
    )


def first_of(problems: Sequence[str]) -> str:
    """Return the first few problems, and how many more there are."""
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


def _named_twice(actions: Mapping[int, Envelope], where: str) -> Iterator[_Problem]:
    """Yield the names that more than one action has."""
    numbers: dict[str, list[int]] = {}
    for number, action in actions.items():
        numbers.setdefault(action.name, []).append(number)
    for name, found in numbers.items():
        if len(found) > 1:
            yield _Problem(f"{where}: two actions have the name {name}: give each one a name of its own", tuple(found))


async def _with_wrong_expression(
    actions: Mapping[int, Envelope], where: str, *, foreign: bool
) -> AsyncIterator[_Problem]:
    """Yield the expressions that cannot be used."""
    for number, action in actions.items():
        for expression in (*action.conditions(), *verb_of(action).expressions()):
            if problem := await _expression_problem(expression, foreign=foreign):
                yield _Problem(f"{where}[{number}] ({action.name}).{expression.place}: {problem}", (number,))


async def _expression_problem(expression: Expression, *, foreign: bool) -> str:
    """Return what is wrong with an expression; "" for nothing."""
    found = await expressions.problem(expression)
    if found or not foreign:
        known = (expression.without_tenant() if foreign else expression).variables
        return f"{found}; it can use {', '.join(known)}" if "undeclared reference to" in found else found
    found = await expressions.problem(expression.without_tenant())
    return f"{found}: {_NOTHING_OF_TENANT}" if found else ""


def _problems(action: Envelope, *, foreign: bool) -> Iterator[str]:
    found = verbs_in(action)
    if len(found) != 1:
        yield WHICH
        return
    verb = found[0]
    if action.phase.value not in (allowed := phases_of(type(verb))):
        yield f"{verb.verb} cannot be in phase {action.phase.value}: use {' or '.join(allowed)}"
    yield from (f"{verb.verb}.{each}" for each in verb.problems())
    if foreign and (needed := verb.tenant_data()) is not None:
        field = f".{needed.field}" if needed.field else ""
        yield f"{verb.verb}{field}: {needed.problem}: {needed.remedies}"


async def _without_partner(actions: Mapping[int, Envelope], where: str) -> AsyncIterator[_Problem]:
    """Yield the actions that need another one which is not in the list, as for a misspelt name."""
    for number, action in actions.items():
        verb = verb_of(action)
        if (needed := verb.depends_on()) is None:
            continue
        field, kind, name = needed
        names = [each.name for each in actions.values() if verb_of(each).verb == kind]
        if name not in names:
            there = f"the list has {', '.join(names)}" if names else "the list has none"
            text = f"{where}[{number}] ({action.name}).{verb.verb}.{field}: no {kind} action is named {name}: {there}"
            yield _Problem(text, (number,))


def _path(place: tuple[int | str, ...]) -> str:
    """Return a place below an action as people write it; the model's names of the verbs are its own."""
    known = {f"{name}_": name for name in VERBS}
    parts = [cut(known.get(str(part), str(part)), _LONGEST_NAME) for part in place]
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


def _message(kind: str, text: str, place: tuple[int | str, ...]) -> str:
    if kind == "extra_forbidden":
        *above, name = place
        meant = nearest(str(name), field_names(Action, *above))
        return f"there is no such field: correct its name{f' to {meant}' if meant else ''}"
    if kind == "missing":
        return "this field is required"
    return text.removeprefix("Value error, ")
