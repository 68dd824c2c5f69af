"""The ManagedChart operator: runs Helm charts through a lifecycle of phases and says why a deployment failed."""

__version__ = "0.1.0"
