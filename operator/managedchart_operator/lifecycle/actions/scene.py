"""What an action works with: the cluster as its identity sees it, the release, and the variables of expressions."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.kube.objects import Objects
from managedchart_operator.lifecycle.context import PhaseContext

SPEC = "spec"
"""The origin of the actions of the ManagedChart itself."""
# There are tens of profiles.
_DIGITS = 10
FIELD_MANAGER = "managedchart-action"
"""The field manager of everything that an action writes."""


@dataclass(slots=True)
class Scene:
    """What one attempt of one action works with."""

    action: str
    """Name of the action."""
    phase: Phase
    context: PhaseContext
    cluster: Objects
    """Requests as the identity of the action: that of the ManagedChart, or of the profile that the action comes from."""
    variables: Mapping[str, Any]
    """What expressions may use: release, spec and payload; for a profile with an identity of its own only release."""
    account: str | None = None
    """UID of the ServiceAccount, if the action comes from a profile with an identity of its own; None for all others.

    Who cannot read the accounts of that namespace, as tenants cannot, does not know it."""
    progress: str = field(default="")
    """What the action waits for now; the error has it if the time is over."""
    seconds: float = 60.0
    """How long the attempt may take."""
    evidence: Findings = field(default_factory=Findings)
    """What the attempt has found out about its failure, for `status.lastFailure`."""

    origin: str = SPEC
    """Where the action comes from: `spec`, or `profile/NAME`."""

    @property
    def foreign(self) -> bool:
        """Whether the action has an identity of its own, so that nothing of the tenant may enter it."""
        return self.account is not None

    def kept_as(self, name: str) -> str:
        """Return the name of what the action `name` of the same origin keeps in the cluster.

        An action of the spec must not be taken for one of the same name in a profile, which would then do nothing. And a
        profile may be for several releases of one namespace, whose authors cannot give its actions other names.
        """
        if self.origin == SPEC:
            return name
        whose = f"{self.origin}\n{self.context.chart.uid}"
        return f"{name}.{hashlib.sha256(whose.encode()).hexdigest()[:_DIGITS]}"

    @property
    def namespace(self) -> str:
        """Where objects are that name no namespace: the release's namespace."""
        return self.context.release.namespace

    @property
    def stamp(self) -> str:
        """Identifies what this run carries out: equal in a run that continues another one, new for a new spec or revision.

        An action that must happen once for one change compares it with the one that it left in the cluster.
        """
        facts = self.context.facts
        # After an uninstall there is no revision, and the next one is another change.
        before_exec = self.phase in (Phase.CHECK_PREREQUISITES, Phase.PRE_EXEC, Phase.POST_DELETE)
        # A helm that was killed leaves a pending revision, and what was done before it must not be done again.
        stamp = (
            f"{facts.replaced_stamp or 'none'}-{self.context.chart.generation}"
            if before_exec
            else facts.stamp or "none"
        )
        # The tenant can write the label of the revision that it comes from.
        return hashlib.sha256(stamp.encode()).hexdigest()[:16] if self.foreign else stamp
