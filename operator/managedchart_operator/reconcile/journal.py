"""What a run has to report beside its error: what it did, and what a person should know although it stops nothing."""

from dataclasses import dataclass, field

from managedchart_operator.reconcile.operations.outcome import Outcome


@dataclass(slots=True)
class Journal:
    """Written by the operations and the lifecycle of one run, read by the reconciler."""

    outcome: Outcome | None = None
    """What the last operation of exec came to."""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """Reason and message of each warning that was not posted yet."""

    def warn(self, reason: str, message: str) -> None:
        """Note a warning."""
        self.warnings.append((reason, message))

    def take_warnings(self) -> list[tuple[str, str]]:
        """Return the warnings so far, each once."""
        taken, self.warnings = self.warnings, []
        return taken
