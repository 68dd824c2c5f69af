"""The benchmark: this operator beside plain helm, on a fresh cluster, in one run.

Boundary: measures from outside (the API server, /proc, the operator's metrics); nothing of the operator is imported.
"""
