"""Lifecycles as a platform team may write them, which end a run: by their decision, or by a defect.

test_lifecycle_failures.py installs them beside the operator. What they raise depends on a ConfigMap of the release and on
the environment, so that a test can take the cause away.
"""

import os

from managedchart_operator.api.spec import Action
from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext


class SmokeTest(Lifecycle):
    """Finds a release good only when its ConfigMap says so."""

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        if context.action is Action.DEPLOY:
            release = context.release
            found = await context.cluster.get(ObjectRef("v1", "ConfigMap", release.name, release.namespace))
            if found is None or found["data"]["MESSAGE"] != "good":
                raise LifecycleError("the page does not say good", hint="set values.message")
        return payload


class Quota(Lifecycle):
    """Has a defect, until it is corrected by a new version of the package; here, by a variable."""

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        limits = {"nodes": 3} if os.environ.get("PLUGIN_QUOTA_CORRECTED") else {}
        context.logger.info("%d nodes are left", limits["nodes"])
        return await super().check_prerequisites(context, payload)
