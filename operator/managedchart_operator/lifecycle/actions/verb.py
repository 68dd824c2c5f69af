"""What every verb has: its schema, the phases in which it may run, the permissions that it needs, and what it does.

A verb is a pydantic model, whose fields are its schema in the CRD and in `kubectl explain`, and a coroutine that does the work
once. `running` is around it: conditions, deadline, retries, what follows an error, and the record in the status. A verb must be
safe to run again, because a restarted operator starts an interrupted run from the beginning.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from managedchart_operator.api.schema import ApiModel
from managedchart_operator.api.status import Phase

if TYPE_CHECKING:
    from managedchart_operator.lifecycle.actions.scene import Scene
    from managedchart_operator.lifecycle.context import PhaseContext

PHASES = (
    Phase.CHECK_PREREQUISITES,
    Phase.PRE_EXEC,
    Phase.ON_DEPLOY_FAILURE,
    Phase.POST_EXEC,
    Phase.VALIDATE,
    Phase.PRE_DELETE,
    Phase.POST_DELETE,
)
"""The phases that can have actions, in the order of a run."""


@dataclass(frozen=True, slots=True)
class Done:
    """What an action has done: a sentence for the status, and what it adds to the payload."""

    message: str
    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expression:
    """A CEL expression of a verb: where it stands below the action, its text, and the variables that it may use."""

    place: str
    text: str
    variables: tuple[str, ...]

    def without_tenant(self) -> "Expression":
        """Return it as it may be in a profile with an account of its own, without what the ManagedChart contains."""
        kept = tuple(each for each in self.variables if each not in OF_TENANT)
        return replace(self, variables=kept + NAMES_OF_RELEASE)


OF_TENANT = ("release", "spec", "payload")
"""The variables of expressions that have something of what the ManagedChart contains."""
NAMES_OF_RELEASE = ("release.name", "release.namespace")
"""What remains of them for a profile with an account of its own."""


@dataclass(frozen=True, slots=True)
class TenantData:
    """What a verb needs that the tenant writes or can change.

    An action that runs as the account of a profile must not use it: the tenant would decide what is done with permissions that
    only the profile has.
    """

    why: str
    """Who writes or changes what, as the beginning of a sentence in lower case."""
    field: str = ""
    """The field of the verb that asks for it; "" for the whole verb."""
    remedy: str = ""
    """What to write instead; "" if there is nothing."""

    @property
    def problem(self) -> str:
        """A part of a sentence without the remedy."""
        return f"{self.why}, and nothing of that may enter an action that runs as the serviceAccount of a profile"

    @property
    def remedies(self) -> str:
        """What to do, as a part of a sentence."""
        moved = "move the action into a profile without serviceAccount"
        return f"{self.remedy}, or {moved}" if self.remedy else moved


class Verb(ApiModel):
    """One kind of action."""

    verb: ClassVar[str]
    """Its name in YAML."""
    writes: ClassVar[bool] = True
    """Whether it changes anything: such a verb cannot be in phase Validate, and does nothing in a dry run."""
    phases: ClassVar[Sequence[Phase]] = PHASES
    """The phases in which it may be; a writing verb never in Validate."""
    needs: ClassVar[Sequence[str]]
    """The verbs of RBAC that it needs for the kinds that it names, like get and patch."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with it beyond what its schema says: field, colon, remedy."""
        yield from ()

    def expressions(self) -> Iterator[Expression]:
        """Yield its CEL expressions, which are compiled before anything runs."""
        yield from ()

    def tenant_data(self) -> TenantData | None:
        """Return what it needs that the tenant writes or can change; None if a profile may run it as its own account."""
        return None

    def depends_on(self) -> tuple[str, str, str] | None:
        """Return what it needs in the same list: field, verb and name of another action."""
        return None

    def calls(self) -> Iterator[str]:
        """Yield the addresses outside of the cluster that it calls, which an administrator must have allowed."""
        yield from ()

    async def before_exec(self, context: "PhaseContext") -> None:
        """Note what cannot be known any more once exec has run. Raises OperatorError."""

    async def run(self, scene: "Scene") -> Done:
        """Do it once. Raises OperatorError if it fails; `running` has the deadline and the retries."""
        raise NotImplementedError

    async def preview(self, scene: "Scene") -> Done:
        """Say what it would do, without changing anything; for a dry run. A reading verb runs. Raises OperatorError."""
        if self.writes:
            raise NotImplementedError
        return await self.run(scene)
