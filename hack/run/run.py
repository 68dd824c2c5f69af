#!/usr/bin/env python3
"""`make run`: the operator on this machine, against the cluster of the current kubeconfig context.

It prints what it will touch. For a cluster that does not look local it asks, or needs CONFIRM=yes. Then it applies the CRDs
and runs the operator in the foreground until Ctrl-C. The operator gets a copy of the context in a file of its own, so that a
later `kubectl config use-context` does not lead its helm processes to another cluster.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kube_context import Context, RunError, kubectl_environment, read_context

ROOT = Path(__file__).resolve().parents[2]
_DEVCLUSTER = ROOT / "hack" / "devcluster" / "devcluster"
_CRDS = ROOT / "crds"
_CRD = _CRDS / "managedchart.yaml"
# The label of the Deployment in deploy/ and in every kustomization on top of it.
_INSTALLED = "app.kubernetes.io/name=managedchart-operator"
_RESOURCE = "managedcharts.managedchart.dev"
# The context that `make demo` writes.
_DEMO = "kind-managedchart-demo"
# A cluster that does not answer must not look like a question to the user.
_REQUEST_TIMEOUT = "--request-timeout=15s"


@dataclass(frozen=True)
class Kubectl:
    """kubectl, with the kubeconfig of the user."""

    program: str

    def __call__(self, *arguments: str) -> str:
        """Run it and return its output. Raises RunError with what it printed."""
        done = subprocess.run(
            [self.program, *arguments], env=kubectl_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            # The last line has the reason; what comes before it repeats each attempt.
            why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise RunError(f"kubectl {' '.join(arguments)}: {why[0]}")
        return done.stdout


def main() -> int:
    """Run the operator and return its exit code."""
    try:
        kubectl = Kubectl(shutil.which("kubectl") or _built("kubectl"))
        context = current_context(kubectl)
        refuse_second_operator(kubectl, context)
        helm = os.environ.get("MANAGEDCHART_HELM_BINARY") or _built("helm")
        print(what_is_touched(kubectl, context, helm=helm), flush=True)
        confirm(context, answer=os.environ.get("CONFIRM", ""))
        kubectl("apply", "--server-side", f"--kustomize={_CRDS}")
        # A CRD that was just created has no list of conditions yet, on which kubectl ends with an error: so the names first.
        for state in ("jsonpath={.status.acceptedNames.kind}=ManagedChart", "condition=Established"):
            kubectl("wait", f"--for={state}", f"--filename={_CRD}", "--timeout=60s")
        print(
            "The CRDs are applied. Ctrl-C ends the operator; releases, ManagedCharts and the CRDs stay.\n", flush=True
        )
        return run(context, helm=helm)
    except RunError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def current_context(kubectl: Kubectl) -> Context:
    """Return the current context. Raises RunError."""
    if not json.loads(kubectl("config", "view", "--output=json")).get("current-context"):
        raise RunError(
            "there is no current kubeconfig context. Set KUBECONFIG, or choose one: kubectl config use-context NAME"
        )
    return read_context(kubectl("config", "view", "--minify", "--flatten", "--raw", "--output=json"))


def refuse_second_operator(kubectl: Kubectl, context: Context) -> None:
    """Raise RunError while an operator runs in the cluster: two would start helm for the same release."""
    if context.name == _DEMO:
        raise RunError("`make demo` runs an operator in this cluster already. Use that one, or stop it: make demo-stop")
    selected = ("--all-namespaces", f"--selector={_INSTALLED}", "--output=json", _REQUEST_TIMEOUT)
    for item in json.loads(kubectl("get", "deployments", *selected))["items"]:
        if item["spec"].get("replicas", 1):
            namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
            raise RunError(
                f"Deployment {namespace}/{name} runs an operator in this cluster already, and two would work on the same"
                f" releases. Stop it first:\n  kubectl --namespace={namespace} scale deployment/{name} --replicas=0"
            )


def what_is_touched(kubectl: Kubectl, context: Context, *, helm: str) -> str:
    """Say which cluster is meant, as whom, and what is going to be changed there."""
    identity = json.loads(kubectl("auth", "whoami", "--output=json", _REQUEST_TIMEOUT))
    user = identity["status"]["userInfo"]["username"]
    if has_crd(kubectl):
        crd = "replaces the present ones"
        charts = kubectl("get", _RESOURCE, "--all-namespaces", "--output=name", _REQUEST_TIMEOUT).split()
    else:
        crd, charts = "there are none yet", []
    return "\n".join(
        (
            f"Context:     {context.name} ({'looks local' if context.is_local else 'does not look local'})",
            f"Server:      {context.server}",
            f"Identity:    {user}; the operator and its helm processes act with the permissions of this user",
            f"Applies:     the CRDs in crds/ ({crd})",
            f"Reconciles:  every ManagedChart in every namespace; there are {len(charts)} now",
            f"helm:        {helm}",
            f"Charts from: {chart_roots()}",
        )
    )


def has_crd(kubectl: Kubectl) -> bool:
    """Whether the cluster has the CRD."""
    return bool(kubectl("get", f"crd/{_RESOURCE}", "--ignore-not-found", "--output=name", _REQUEST_TIMEOUT))


def confirm(context: Context, *, answer: str) -> None:
    """Return if the context looks local or the user agrees. Raises RunError."""
    if context.is_local or answer == "yes":
        return
    if not sys.stdin.isatty():
        raise RunError("this does not look like a local cluster; if it is the one you mean: make run CONFIRM=yes")
    if input(f"\nType the name of the context to continue ({context.name}): ").strip() != context.name:
        raise RunError("not confirmed, nothing was changed")


def chart_roots() -> str:
    """The setting of that name; by default the folder that stands for /charts in the examples."""
    return os.environ.get("MANAGEDCHART_CHART_ROOTS") or json.dumps([str(ROOT / "examples" / "charts")])


def cache_of(context: Context) -> Path:
    """A cache folder for each cluster. The operator locks it, and finds helm processes of an earlier one by it."""
    value = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that relative paths are invalid and to be ignored.
    base = Path(value) if value.startswith("/") else Path.home() / ".cache"
    return base / "managedchart-run" / hashlib.sha256(context.server.encode()).hexdigest()[:16]


def run(context: Context, *, helm: str) -> int:
    """Run the operator in the foreground and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="managedchart-run-") as private:
        kubeconfig = Path(private) / "kubeconfig"
        kubeconfig.write_text(json.dumps(context.config))  # the folder is readable for this user only
        defaults = {
            "MANAGEDCHART_CACHE_DIR": str(cache_of(context)),
            "MANAGEDCHART_HTTP_HOST": "127.0.0.1",
            "MANAGEDCHART_HTTP_PORT": "0",
            "MANAGEDCHART_LOG_FORMAT": "text",
        }
        fixed = {
            "KUBECONFIG": str(kubeconfig),
            "MANAGEDCHART_HELM_BINARY": helm,
            "MANAGEDCHART_CHART_ROOTS": chart_roots(),
        }
        # Ctrl-C reaches the operator directly, since it is in the terminal's process group; here we only wait for its end.
        # A function and not SIG_IGN, which the operator would inherit.
        signal.signal(signal.SIGINT, lambda *_: None)
        operator = subprocess.Popen(
            [sys.executable, "-P", "-m", "managedchart_operator", "run"], env=defaults | os.environ | fixed
        )
        signal.signal(signal.SIGTERM, lambda *_: operator.terminate())
        return operator.wait()


def _built(program: str) -> str:
    """Return a program of devcluster's, which builds it if needed or takes a fitting one from PATH. Raises RunError."""
    done = subprocess.run([str(_DEVCLUSTER), "build", program], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RunError(f"{program} could not be built; the reason is printed above")
    return str(Path(done.stdout.strip()) / program)


if __name__ == "__main__":
    sys.exit(main())
