"""The part of the status that shows the lifecycle of a ManagedChart with everything that LifecycleProfiles add to it."""

from pydantic import Field

from managedchart_operator.api.earlier_status import StatusModel


class EffectiveAction(StatusModel):
    """One action of the lifecycle."""

    name: str
    """Name of the action."""
    phase: str
    """The phase around which it runs."""
    verb: str
    """Its verb, like exists or restart."""
    origin: str
    """Where it comes from: spec, or profile/ and the name of a LifecycleProfile."""


class EffectiveLifecycle(StatusModel):
    """The lifecycle with all that profiles add to it."""

    name: str
    """The built-in lifecycle or plug-in around which the actions run."""
    profiles: list[str] = Field(default_factory=list)
    """The LifecycleProfiles that take part, in the order of their actions."""
    actions: list[EffectiveAction] = Field(default_factory=list, max_length=128)
    """The actions in their order; within a phase they run in this order."""
