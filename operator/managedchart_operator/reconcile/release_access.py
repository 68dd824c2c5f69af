"""Whether a ManagedChart may work with its release: its namespace accepts it, and it belongs to no other ManagedChart."""

from collections.abc import Callable
from dataclasses import dataclass

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.reconcile.consent import Consent
from managedchart_operator.reconcile.release_owners import ReleaseOwners


@dataclass(frozen=True, slots=True)
class ReleaseAccess:
    """The two questions, which every pass asks; one for the whole operator."""

    consent: Consent
    owners: ReleaseOwners

    def when_changed(self, call: Callable[[Key], None]) -> None:
        """Set what is called with the key of a ManagedChart for which an answer may have changed."""
        self.consent.watch.when_changed(call)
        self.owners.when_free(call)

    def end_pass(self, chart: ManagedChart) -> None:
        """A pass has ended: others may work with the release now."""
        self.owners.done(chart)

    async def close(self) -> None:
        """Ask no more."""
        await self.consent.watch.close()
