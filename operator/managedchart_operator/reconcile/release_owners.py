"""Lets one ManagedChart at a time work with a release, and asks the others again when it may be their turn.

`claims` decides whose turn it is. The decision and its record happen without an await between them, so that two passes never
both find that the release is theirs. Nothing is remembered that outlives a pass.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.errors import SpecError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.claims import Claim, Standing, Target, release_owner
from managedchart_operator.reconcile.store import Store

_LIST = (
    "kubectl get managedcharts --all-namespaces -o custom-columns="
    "NAMESPACE:.metadata.namespace,NAME:.metadata.name,TARGET:.spec.targetNamespace,RELEASE:.spec.releaseName"
)


class ReleaseOwners:
    """Who works with which release now."""

    def __init__(self, store: Store, *, refuses: Callable[[Claim], bool] = lambda _: False) -> None:
        """`refuses` says whether the namespace of the release is known not to accept a claim."""
        self._store = store
        self._refuses = refuses
        self._working: dict[Target, Key] = {}
        self._waiting: defaultdict[Target, set[Key]] = defaultdict(set)
        """Those that were refused while another one worked with their release: to be asked again at the end of its pass."""
        self._request: Callable[[Key], None] = lambda _: None

    def when_free(self, call: Callable[[Key], None]) -> None:
        """Set what is called with the key of a ManagedChart that may have its release now."""
        self._request = call

    def take(self, chart: ManagedChart, *, label_owner: str | None) -> None:
        """Begin to work with the release. Raises SpecError (RELEASE_OWNED) if it belongs to another ManagedChart.

        `label_owner` is the UID in the label of the newest revision. Call `done` at the end of the pass.
        """
        target = (chart.release_namespace, chart.release_name)
        owner = release_owner(self._claims(target), label_owner=label_owner, working=self._working.get(target))
        if owner is not None and owner.uid != chart.uid:
            if target in self._working:
                self._waiting[target].add(chart.key)
            raise _owned(chart, owner)
        self._working[target] = chart.key

    def take_to_remove(self, chart: ManagedChart) -> bool:
        """Begin to remove a release that is proven to be the ManagedChart's own.

        Returns False while another one works with it; the ManagedChart is asked again then.
        """
        target = (chart.release_namespace, chart.release_name)
        if self._working.setdefault(target, chart.key) == chart.key:
            return True
        self._waiting[target].add(chart.key)
        return False

    def done(self, chart: ManagedChart) -> None:
        """The pass has ended: ask those again that may have the release now."""
        target = (chart.release_namespace, chart.release_name)
        if self._working.get(target) == chart.key:
            del self._working[target]
            for key in self._waiting.pop(target, ()):
                self._request(key)
        self.ask_next(chart)

    def ask_next(self, chart: ManagedChart) -> None:
        """Ask who has the release now instead of a ManagedChart, and was refused for its sake.

        That one may have given up, or have been set to Skip, or its removal has ended.
        """
        target = (chart.release_namespace, chart.release_name)
        owner = release_owner(self._claims(target), label_owner=None)
        if owner is not None and owner.key != chart.key and owner.refused:
            self._request(owner.key)

    def _claims(self, target: Target) -> list[Claim]:
        """Return the claims for a release. Who may write a status could write there that nobody has refused it."""
        return [
            replace(claim, standing=Standing.NOTHING) if self._refuses(claim) else claim
            for claim in self._store.claims(target)
        ]


def _owned(chart: ManagedChart, owner: Claim) -> SpecError:
    release = f"{chart.release_namespace}/{chart.release_name}"
    # Who reads this may not read the other namespace.
    known = owner.key.namespace == chart.key.namespace
    whose = f"ManagedChart {owner.key}" if known else "another ManagedChart"
    # Neither field of this one can be changed.
    advice = (
        "Delete the other ManagedChart, or delete this one and create it with another spec.releaseName or"
        " spec.targetNamespace."
    )
    if not known:
        advice = f"{advice} The other one is in another namespace; an administrator finds it with: {_LIST}"
    return SpecError(f"The release {release} belongs to {whose}", reason=Reason.RELEASE_OWNED, hint=advice)
