"""Finds the cluster of the current kubeconfig context, and whether it looks like one on this machine.

Everything is read with `kubectl config view`, so KUBECONFIG with several files and the default file work as usual.
"""

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# Names that tools for local clusters give to their contexts.
_LOCAL_TOOLS = re.compile(
    r"(kind-.*|k3d-.*|k3s-default|minikube|docker-desktop|rancher-desktop|orbstack|colima.*|microk8s)"
)
# Names by which such tools reach the machine that they run on.
_LOCAL_NAMES = re.compile(r"localhost|.*\.localhost|.*\.docker\.internal")
# Logins that the operator does not support: kopf takes tokens, certificates and passwords only.
_FOREIGN_LOGINS = ("exec", "auth-provider", "tokenFile")


class RunError(Exception):
    """`make run` cannot continue; the message is for the user."""


@dataclass(frozen=True)
class Context:
    """The current context. `config` is a kubeconfig with this context alone and its certificates in it."""

    name: str
    server: str
    config: dict[str, Any]

    @property
    def is_local(self) -> bool:
        """Whether the cluster seems to be on this machine: by its address, or by a private address and a tool's name."""
        host = urlsplit(self.server).hostname or ""
        if _LOCAL_NAMES.fullmatch(host):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or (address.is_private and _LOCAL_TOOLS.fullmatch(self.name) is not None)


def read_context(view: str) -> Context:
    """Read what `kubectl config view --minify --flatten --raw --output=json` prints. Raises RunError."""
    config = json.loads(view)
    [context], [cluster], users = config["contexts"], config["clusters"], config.get("users") or []
    login = (users[0].get("user") or {}) if users else {}
    for kind in _FOREIGN_LOGINS:
        if kind in login:
            raise RunError(
                f"the user of context {context['name']} logs in by `{kind}`, which the operator does not support. Use a"
                " kubeconfig with a token or a client certificate; CONTRIBUTING.md shows how to make one"
            )
    return Context(name=context["name"], server=cluster["cluster"].get("server", ""), config=config)


def kubectl_environment() -> dict[str, str]:
    """The environment of kubectl calls, without an empty KUBECONFIG, which would hide the default file."""
    return {name: value for name, value in os.environ.items() if not (name == "KUBECONFIG" and not value)}
