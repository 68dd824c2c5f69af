"""Checks the values of a run against the chart's schemas before helm does, where these refer to addresses of the web.

helm would fetch what they refer to during an install, next to its requests to the API server, which must not go through the
operator's proxy. So one `helm template`, of a copy without templates and without any way out but that proxy, checks the values;
the install then skips it. This costs a helm process, for such charts only.
"""

from managedchart_operator.charts.by_helm import failed_schema_check
from managedchart_operator.helm.command import TemplateOptions
from managedchart_operator.reconcile.helm_call import helm_error
from managedchart_operator.reconcile.release_run import ReleaseRun


async def skips_schemas(run: ReleaseRun) -> bool:
    """Return whether helm has to leave out the chart's schemas: the spec says so, or the values were checked here.

    Raises OperatorError if a schema refuses the values, or cannot be used.
    """
    sources, services = run.sources, run.services
    chart, egress = await sources.fetch(), services.charts.egress
    if run.spec.skip_schema_validation or sources.schemas_checked:
        return True
    if not chart.references.remote or egress is None:
        return False
    values = (await sources.read()).values.arguments
    options = TemplateOptions(run.name, run.namespace, await run.objects.crds.kube_version())
    async with services.charts.without_templates(chart, schemas=True) as copy:
        failed = await failed_schema_check(services.helm, egress, copy, options, values)
    if failed is not None:
        raise await helm_error(run, failed, command="template")
    sources.schemas_checked = True
    return True
