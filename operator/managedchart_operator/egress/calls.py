"""What may be called for a chart, as errors of the resource: the sources that its spec names, and what a pull met on its way.

The address that a name has is in no message: it would tell the author of a chart what only the operator's pod can see.
"""

from dataclasses import dataclass, field

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.egress.addresses import Kind, kind_in_words, parse_literal
from managedchart_operator.egress.dialing import RefusedError
from managedchart_operator.egress.messages import Target
from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.egress.proxy import SESSION_BYTES, SESSION_CONNECTIONS, Budget, EgressProxy, Session
from managedchart_operator.egress.sources import SourceUrl
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

SOURCES_SETTING = "MANAGEDCHART_CHART_SOURCES"
ADDRESSES_SETTING = "MANAGEDCHART_CHART_ADDRESSES"
UNREACHABLE_HINT = (
    "It is retried automatically. If this persists, check the URL, and the operator's network policies and proxy."
)
# What an administrator may write to open an address. For the others, such as metadata services, there is hardly a reason.
_EXAMPLES = {Kind.LOOPBACK: "127.0.0.0/8", Kind.PRIVATE: "10.0.0.0/8", Kind.OWN: "10.0.0.0/8"}


@dataclass(frozen=True, slots=True)
class Egress:
    """The calls of one operator on behalf of charts."""

    proxy: EgressProxy
    only_by_proxy: bool = True
    """Whether a program is kept from every connection except those to the proxy. False where this machine may be called, which
    Go calls without any proxy."""
    metrics: MetricSources = field(default_factory=MetricSources)
    """The servers that the verb `metric` may ask."""

    def check_source(self, source: ChartSource) -> None:
        """Raise ChartError (CHART_SOURCE_NOT_ALLOWED) for a repository or registry that may not be called; nothing is resolved.

        It is transient, since other settings of the operator may allow it, and another check costs nothing.
        """
        text, field = source.oci or source.repository, f"spec.chart.{'oci' if source.oci else 'repository'}"
        if text is None:
            return
        try:
            url = SourceUrl.parse(text)
        except ValueError as error:
            raise ChartError(
                f"{field} cannot be compared with the allowed chart sources: {error}",
                reason=Reason.CHART_SOURCE_NOT_ALLOWED,
                hint=f"Write {field} like https://charts.example.com/team or oci://ghcr.io/team/chart.",
            ) from error
        sources = self.proxy.dialer.sources
        if not sources.allow(url):
            raise ChartError(
                f"{field}: {url} is not one of the chart sources that the operator allows",
                reason=Reason.CHART_SOURCE_NOT_ALLOWED,
                transient=True,
                hint=f'Use an allowed source, or add "{url}" to the list in the operator\'s setting {SOURCES_SETTING}.',
            )
        if kind := self._refusal(url, named=sources.name(url)):
            raise _refused(f"{field}: the operator may not call {url} for a chart", kind)

    def refused_address(self, address: str) -> str | None:
        """Return why an http:// or https:// address may not be called, as the rest of a sentence; None if it may.

        The same rules as for sources. Nothing is resolved.
        """
        sources = self.proxy.dialer.sources
        try:
            url = SourceUrl.parse(address.partition("#")[0].partition("?")[0])
        except ValueError as error:
            return f"cannot be compared with the allowed chart sources: {error}"
        if not sources.allow(url):
            return "is not one of the chart sources that the operator allows"
        kind = self._refusal(url, named=sources.name(url))
        return kind and f"the operator may not call for a chart: {kind_in_words(kind)}"

    def explain(self, session: Session, *, source: str) -> ChartError | None:
        """Return what the proxy knows about the failure of its caller; None if it let everything pass."""
        problem = session.problem
        if session.exhausted is Budget.BYTES:
            # The same reason as if helm's limits of memory or files end it first: which of them does so depends on the machine.
            return ChartError(
                f"{source} sends more than {SESSION_BYTES >> 20} MiB for one chart; the operator stopped the download",
                reason=Reason.CHART_TOO_LARGE,
                hint="Use a smaller chart, a repository with a smaller index, or a registry (spec.chart.oci).",
            )
        if session.exhausted is Budget.CONNECTIONS:
            return ChartError(
                f"{source} needs more than {SESSION_CONNECTIONS} connections for one chart; the operator stopped the download",
                reason=Reason.CHART_SOURCE_UNAVAILABLE,
                hint="Use a source with fewer redirects, or a registry (spec.chart.oci).",
            )
        if problem is None:
            return None
        where = _shown(problem.target)
        if isinstance(problem, RefusedError):
            leads = "" if problem.target.host in source else f"{source} leads to {where}, which "
            what = (
                f"{leads}the operator may not call for a chart"
                if leads
                else f"The operator may not call {where} for a chart"
            )
            return _refused(what, problem.kind)
        return ChartError(
            f"{where} cannot be reached: {problem.why}",
            reason=Reason.CHART_SOURCE_UNAVAILABLE,
            transient=True,
            hint=UNREACHABLE_HINT,
        )

    def _refusal(self, url: SourceUrl, *, named: bool) -> Kind | None:
        rules, literal = self.proxy.dialer.rules, parse_literal(url.host)
        if literal is not None:
            return rules.refusal(literal, named=named)
        return rules.refused_name(url.host, named=named)


def _refused(what: str, kind: Kind) -> ChartError:
    """Return the error for a call that the rules of addresses refuse; transient, since names get other addresses."""
    hint = "Use a source with a public address."
    if kind in _EXAMPLES:
        hint = (
            "Use a source with a public address, or ask an administrator to allow this one in the operator's setting "
            f"{ADDRESSES_SETTING}, like '[\"{_EXAMPLES[kind]}\"]'."
        )
    return ChartError(
        f"{what}: {kind_in_words(kind)}", reason=Reason.CHART_SOURCE_NOT_ALLOWED, transient=True, hint=hint
    )


def _shown(target: Target) -> str:
    return (
        f"http://{target.host_header}"
        if target.path is not None
        else f"https://{target.authority.removesuffix(':443')}"
    )
