"""Installs a release once, and leaves it as it is when the ManagedChart changes."""

from managedchart_operator.plugin import Lifecycle


class InstallOnce(Lifecycle):
    """Deploys only if no release is installed."""

    async def deploy(self, context, payload):
        """Install, or do nothing."""
        if await context.release.installed():
            context.logger.info("the release is installed already, so it is left as it is")
            return payload
        return await super().deploy(context, payload)
