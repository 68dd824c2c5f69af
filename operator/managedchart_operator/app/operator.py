"""Runs the operator from its start to its end.

`run` checks what the operator cannot work without, in the order in which a person would fix it, then builds the parts
(`assembly`) and hands over to kopf (`kopf_source`). What was opened is closed in reverse order; when `run` returns, no helm
process of this operator is left.
"""

import contextlib
import fcntl
import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from managedchart_operator import __version__
from managedchart_operator.app import foreign_patches, kopf_source
from managedchart_operator.app.assembly import assemble
from managedchart_operator.app.calling_out import calling_out
from managedchart_operator.app.http import serving
from managedchart_operator.app.settings import Settings
from managedchart_operator.errors import StartupError, WatchEndedError
from managedchart_operator.helm.binary import check_version
from managedchart_operator.helm.child_limits import MIB
from managedchart_operator.helm.limits import Limits
from managedchart_operator.helm.runner import end_orphans
from managedchart_operator.kube.client import OPERATOR, KubeClient
from managedchart_operator.kube.definition import Definition
from managedchart_operator.kube.impersonation import check_impersonation
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.lifecycle.definitions import lifecycleprofile_schema, managedchart_schema
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.lifecycle.profiles.model import DEFINITION as PROFILES

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Run the operator until a signal ends it. Raises StartupError if it cannot start, WatchEndedError if the watch ends."""
    give_way_to_the_loop()
    helm_version = await check_version(settings.helm_binary, settings.child_limits)
    foreign_patches.shrink_tls_buffers()
    kubeconfig = os.environ.get("KUBECONFIG")
    client = await KubeClient.connect(kubeconfig=Path(kubeconfig) if kubeconfig else None)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        api = ManagedCharts(client, settings.scope)
        await api.check_installed()
        await ReleaseSecrets(client).check_permissions(settings.scope)
        definition = Definition(client, settings.scope)
        await definition.check_schema(managedchart_schema())
        await definition.check_optional(PROFILES, lifecycleprofile_schema())
        await check_impersonation(client, settings.scope, account=settings.default_service_account or None)
        identity = stack.enter_context(_locked(settings))
        await end_orphans(identity)
        egress = await stack.enter_async_context(calling_out(settings, api_server=client.host))
        processes = PluginProcesses(
            memory=settings.plugin_memory,
            places=settings.plugin_places(Limits().memory()),
            share=settings.namespace_share,
        )
        stack.push_async_callback(processes.close)
        plugins = await Plugins.discover(settings.plugin_dir, processes)
        operator = await assemble(settings, client=client, egress=egress, identity=identity, plugins=plugins)
        port = await stack.enter_async_context(
            serving(
                host=settings.http_host,
                port=settings.http_port,
                metrics=operator.metrics,
                healthy=operator.unhealthy,
                ready=operator.unready,
            )
        )
        async for chart in api.list_all():
            operator.store.put(chart)
        logger.info(
            "managedchart-operator %s with helm %s: %d resources, at most %d helm processes, %d of them applying "
            "with up to %d MiB each, http port %d",
            __version__,
            helm_version,
            len(operator.store),
            settings.helm_processes,
            settings.apply_slots,
            settings.helm_memory // MIB,
            port,
        )
        if shortage := settings.shortage(Limits().memory()):
            logger.warning("%s", shortage)
        try:
            await kopf_source.watch(
                started=operator.start,
                seen=operator.seen,
                deleted=operator.deleted,
                stopping=operator.stop,
                largest=lambda: operator.store.largest,
                host=client.host,
                identity=OPERATOR,
                namespaces=settings.scope.namespaces,
            )
        except Exception:
            await check_still_served(api)
            raise


def give_way_to_the_loop() -> None:
    """Keep the threads that read and compute from holding up the event loop.

    Of several that want Python's lock any one gets it next, and keeps it for 5 ms: the event loop waited for up to 0.16 s
    behind five threads, with 1 ms for 0.06 s, while they took no longer (measured on two busy cores). And each search of the
    garbage collector, during which no thread runs, went through all modules, 0.05 s.
    """
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()


async def check_still_served(api: ManagedCharts) -> None:
    """Raise WatchEndedError when the API server no longer lets the operator list ManagedCharts.

    That happens when the CRD is deleted, and when the operator loses its permissions or its ServiceAccount, for example while
    it is removed. Neither is a defect, so the process ends with one sentence; the restarted container works again once
    everything is installed again.
    """
    try:
        await api.check_installed()
    except StartupError as error:
        raise WatchEndedError(f"ManagedCharts can no longer be watched: {error.message}", hint=error.hint) from error


@contextlib.contextmanager
def _locked(settings: Settings) -> Iterator[str]:
    """Lock the cache folder, so that one operator at a time uses it; yields the identity that marks its helm processes.

    The kernel releases the lock when the process ends, so a killed operator leaves nothing to clean up. Raises StartupError.
    """
    folder = settings.cache_dir
    try:
        settings.helm_home.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StartupError(
            f"The cache folder {folder} cannot be written: {error.strerror or error}",
            hint="Set MANAGEDCHART_CACHE_DIR to a folder that this user can write.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(
                f"Another operator uses the cache folder {folder}",
                hint="Stop it, or set MANAGEDCHART_CACHE_DIR to another folder.",
            ) from error
        yield str(folder.resolve())
