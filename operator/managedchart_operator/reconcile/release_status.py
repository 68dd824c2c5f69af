"""Describes the newest revision of a release for the status."""

import logging
from datetime import UTC, datetime

from managedchart_operator.api.status import ReleaseStatus
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.times import write_time

logger = logging.getLogger(__name__)


async def release_status(run: ReleaseRun, *, digest: Digest) -> ReleaseStatus | None:
    """Describe the newest revision, with the chart that was just deployed where the revision cannot be read.

    `digest` is that of the run's input. A release of others that the spec only names is not described, since the readers of
    this resource may have no permission to read that release.
    """
    newest = run.newest
    if newest is None or not (run.ownership.made(newest) or run.ownership.owns(run.storage.revisions)):
        return None
    chart = run.sources.chart
    name, version, app = (chart.name, chart.version, chart.app_version) if chart else (None, None, None)
    if chart is None or not digest.matches(newest.digest):
        try:
            stored = await run.storage.read_stored() or StoredRelease({})
            name, version, app = stored.chart_name, stored.chart_version, stored.app_version
        except (KubeError, HelmError) as error:
            logger.warning("%s/%s: cannot read revision %d: %s", run.namespace, run.name, newest.number, error.message)
    return ReleaseStatus(
        name=run.name,
        namespace=run.namespace,
        revision=newest.number,
        status=newest.status,
        chart=name,
        chart_version=version,
        app_version=app,
        digest=newest.digest,
        last_deployed=write_time(datetime.fromtimestamp(newest.stored_at, UTC)) if newest.stored_at else None,
    )
