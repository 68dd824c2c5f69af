"""The words in which the API server refuses a request (Kubernetes 1.37); they arrive directly and in helm's errors."""

MISSING_RIGHT = (
    r'is forbidden: User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)" '
    r'(?:in the namespace "(?P<namespace>[^"]*)"|at the cluster scope)'
)
"""How the API server says that a user lacks a right."""
