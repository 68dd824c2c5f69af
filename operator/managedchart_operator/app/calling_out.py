"""Builds what calls on behalf of charts, from the settings, the environment and the addresses of this pod."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from managedchart_operator.app.settings import Settings
from managedchart_operator.egress.addresses import Address, AddressRules, parse_networks
from managedchart_operator.egress.calls import Egress
from managedchart_operator.egress.dialing import Dialer, Resolver
from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.egress.proxy import EgressProxy
from managedchart_operator.egress.sources import ChartSources
from managedchart_operator.egress.upstream import Upstreams

# The names of the pod and of the API server are in /etc/hosts or known at once.
_RESOLVE_SECONDS = 5.0


@asynccontextmanager
async def calling_out(settings: Settings, *, api_server: str) -> AsyncIterator[Egress]:
    """Serve the proxy for pulls as long as the context lasts. `api_server` is the URL of the API server."""
    resolver = Resolver()
    hosts = (urlsplit(api_server).hostname, os.environ.get("KUBERNETES_SERVICE_HOST"), socket.gethostname())
    rules = AddressRules(parse_networks(settings.chart_addresses), await _addresses(resolver, hosts))
    dialer = Dialer(rules, ChartSources.parse(settings.chart_sources), Upstreams.of(os.environ), resolver)
    proxy = EgressProxy(dialer)
    try:
        async with proxy.serving():
            metrics = MetricSources.parse(settings.metric_sources, proxy)
            yield Egress(proxy, only_by_proxy=not rules.opens_loopback, metrics=metrics)
    finally:
        resolver.close()


async def _addresses(resolver: Resolver, hosts: tuple[str | None, ...]) -> frozenset[Address]:
    """Return the addresses of hosts as far as they can be found: those of the pod may be public, too."""
    found: set[Address] = set()
    for host in filter(None, hosts):
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found.update(await resolver(host))
        except (OSError, ValueError, TimeoutError):
            continue
    return frozenset(address for address in found if address != ip_address(0))
