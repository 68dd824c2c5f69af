"""Finds out why a deployment failed, from the evidence in the cluster."""
