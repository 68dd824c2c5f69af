"""Does nothing when a deployment fails: no Events and logs are collected, and `status.lastFailure` has Helm's error alone."""

from managedchart_operator.plugin import Lifecycle


class NoEvidence(Lifecycle):
    """Leaves out what the operator does after a failure; `atomic: false` leaves out the rollback."""

    async def on_deploy_failure(self, context, payload, error):
        """Do nothing."""
        return payload
