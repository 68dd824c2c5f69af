"""Whether the namespace of a release accepts a ManagedChart of another namespace (MANAGEDCHART_CROSS_NAMESPACE).

By a label on the namespace of the release, or because the account of the ManagedChart may write there anyway. A namespace that
does not exist has nobody to ask, so the account must be allowed to create namespaces. Asked before anything of the release is
read. A deletion is not asked about: it removes only what this ManagedChart has deployed.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from managedchart_operator.api.resource import GROUP, Key, ManagedChart
from managedchart_operator.errors import KubeError, OperatorError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.namespaces import Namespaces
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.claims import Claim
from managedchart_operator.reconcile.consent_watch import ConsentWatch

FROM_PREFIX = f"from.{GROUP}/"
"""The label of a namespace that accepts those of one other: this, followed by its name, with the value "true"."""
FROM_ANY = f"{GROUP}/from-any-namespace"
"""The label of a namespace that accepts those of every other one."""
_YES = "true"
# helm keeps a release in Secrets, so whoever may not create them may deploy nothing.
_TO_DEPLOY = Permission("create", "secrets")
_TO_CREATE = Permission("create", "namespaces")


@dataclass(frozen=True, slots=True)
class Crossing:
    """A ManagedChart of the namespace `source` with a release in the namespace `target`, and its account if it has one."""

    source: str
    target: str
    identity: Identity | None = None


def accepts(labels: Mapping[str, str], source: str) -> bool:
    """Whether a namespace with these labels accepts releases of ManagedCharts in the namespace `source`."""
    return _YES in (labels.get(f"{FROM_PREFIX}{source}"), labels.get(FROM_ANY))


class Consent:
    """Asks for the consent of namespaces, unless none is `needed`."""

    def __init__(
        self,
        namespaces: Namespaces,
        allowed: Callable[[Identity, Permission], Awaitable[bool]],
        *,
        identity_of: Callable[[ManagedChart], Identity | None],
        needed: bool,
        seconds: float,
    ) -> None:
        self._namespaces = namespaces
        self._allowed = allowed
        self._identity_of = identity_of
        self._needed = needed
        self.watch: ConsentWatch[Crossing] = ConsentWatch(self.given, seconds=seconds)
        """Asks again, every `seconds`, on behalf of those that were checked."""

    async def check(self, chart: ManagedChart) -> None:
        """Raise OperatorError (FORBIDDEN) unless the namespace of its release accepts the ManagedChart. Raises KubeError."""
        crossing = self._crossing(chart)
        if crossing is None:
            self.watch.forget(chart.key)
            return
        given = await self.given(crossing)
        self.watch.note(chart.key, crossing, given=given)
        if not given:
            raise _refused(crossing, deployed="release" in chart.status)

    async def hides(self, chart: ManagedChart) -> bool:
        """Whether nothing about a release of others in its target namespace may be said to readers of the ManagedChart."""
        crossing = self._crossing(chart)
        try:
            return crossing is not None and not await self.given(crossing)
        except KubeError:
            return True

    def is_known_to_refuse(self, claim: Claim) -> bool:
        """Whether the namespace of a claimed release was asked, and did not accept it: whatever the claimant's status says."""
        known = self.watch.known(claim.key)
        return known is not None and not known[1] and known[0].target == claim.target[0]

    def forget(self, key: Key) -> None:
        """Ask no more on behalf of a ManagedChart."""
        self.watch.forget(key)

    async def given(self, crossing: Crossing) -> bool:
        """Whether the namespace accepts it now. Raises KubeError."""
        labels = await self._labels(crossing.target)
        if labels is not None and accepts(labels, crossing.source):
            return True
        if crossing.identity is None:
            return False
        needed = _TO_CREATE if labels is None else Permission(_TO_DEPLOY.verb, _TO_DEPLOY.resource, "", crossing.target)
        return await self._allowed(crossing.identity, needed)

    async def _labels(self, namespace: str) -> Mapping[str, str] | None:
        """Return the labels of a namespace; None if it does not exist, and none if the operator may not read it."""
        try:
            return await self._namespaces.labels(namespace)
        except KubeError as error:
            if error.status != 403:
                raise
            return {}

    def _crossing(self, chart: ManagedChart) -> Crossing | None:
        source, target = chart.key.namespace, chart.release_namespace
        return Crossing(source, target, self._identity_of(chart)) if self._needed and source != target else None


def _refused(crossing: Crossing, *, deployed: bool) -> OperatorError:
    """Return the error, which is the same whether the namespace exists or not."""
    source, target, identity = crossing.source, crossing.target, crossing.identity
    message = f"Namespace {target} does not accept releases of ManagedCharts in namespace {source}"
    if deployed:
        message += "; the release that was deployed there is left as it is"
    ways = [f"kubectl label namespace {target} {FROM_PREFIX}{source}={_YES}"]
    if identity is not None:
        account = f"{identity.namespace}:{identity.name}"
        ways.append(
            f"kubectl create rolebinding from-{source} --clusterrole=admin --serviceaccount={account} --namespace={target}"
        )
    advice = f"Ask an administrator of namespace {target} for its consent: {' or '.join(ways)}"
    return OperatorError(
        message,
        reason=Reason.FORBIDDEN,
        hint=f"{advice}. The operator notices it within a minute.",
    )
