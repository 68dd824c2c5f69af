"""The command line: the part of kind's that pytest-kind and people use, and four commands of our own.

Answers go to stdout, everything else to stderr. A failure that has a reason is one sentence and exit code 1.
"""

import argparse
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from . import cluster, kubeconfig, toolchain
from .errors import DevclusterError, in_words

DEFAULT_NAME = "kind"
"""kind's own default, so that a script written for kind finds what it made."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def main() -> int:
    """Run one command and return the exit code."""
    # Without this a terminated `create` would leave its components behind: the clean-up is in `except` clauses.
    signal.signal(signal.SIGTERM, _terminate)
    arguments = _parser().parse_args()
    try:
        code: int = arguments.run(arguments)
    except DevclusterError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        # A damaged program, a file where a folder is needed, a full disk: the reader needs the path, not the line of code.
        print(f"ERROR: {in_words(error)}", file=sys.stderr)
        return 1
    return code


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devcluster", description="Real Kubernetes control planes as plain processes, with kind's command line."
    )
    verbs = parser.add_subparsers(required=True, metavar="command")

    create = _cluster(verbs, "create", "start a cluster")
    create.add_argument("--wait", type=_duration, default=0.0, metavar="DURATION", help="extend the deadline, as in 5m")
    create.add_argument("--image", help="ignored: the Kubernetes version is pinned in go.mod")
    create.add_argument("--config", help="ignored: a cluster has one node")
    create.set_defaults(run=_create)

    delete = _cluster(verbs, "delete", "end a cluster's processes and remove its folder")
    delete.set_defaults(run=_delete)

    get = verbs.add_parser("get", help="list clusters, or print a kubeconfig").add_subparsers(required=True)
    get.add_parser("clusters", help="list the running clusters").set_defaults(run=_get_clusters)
    config = get.add_parser("kubeconfig", help="print a cluster's kubeconfig")
    config.add_argument("--name", default=DEFAULT_NAME)
    config.set_defaults(run=_get_kubeconfig)

    load = verbs.add_parser("load", help="not needed here").add_subparsers(required=True)
    image = load.add_parser("docker-image", help="not needed here: containers are simulated")
    image.add_argument("images", nargs="*")
    image.add_argument("--name", default=DEFAULT_NAME)
    image.set_defaults(run=_load)

    status = verbs.add_parser("status", help="list a cluster's processes, or say which died, with the end of its log")
    status.add_argument("--name", default=DEFAULT_NAME)
    status.set_defaults(run=_status)

    restart = verbs.add_parser("restart-apiserver", help="kill the API server and start it again on the same port")
    restart.add_argument("--name", default=DEFAULT_NAME)
    restart.set_defaults(run=_restart)

    build = verbs.add_parser("build", help="build the programs that are missing")
    build.add_argument("programs", nargs="*", metavar="program", help="only these; default: all")
    build.set_defaults(run=_build)
    verbs.add_parser("bin", help="print the folder of the programs").set_defaults(run=_bin)
    return parser


def _cluster(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", verb: str, text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = (
        verbs.add_parser(verb, help=text).add_subparsers(required=True).add_parser("cluster")
    )
    parser.add_argument("--name", default=DEFAULT_NAME)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="instead of $KUBECONFIG or ~/.kube/config")
    return parser


def _duration(text: str) -> float:
    """Seconds of a Go duration such as 1m30s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise argparse.ArgumentTypeError(f'"{text}" is not a duration such as 30s or 5m')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _create(arguments: argparse.Namespace) -> int:
    programs = toolchain.build()
    print(f'Creating cluster "{arguments.name}" ...', file=sys.stderr)
    started = time.monotonic()
    cluster.create(arguments.name, kubeconfig_file=arguments.kubeconfig, programs=programs, seconds=arguments.wait)
    seconds = time.monotonic() - started
    print(f"Ready after {seconds:.1f} s. Context: {kubeconfig.context(arguments.name)}", file=sys.stderr)
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    print(f'Deleting cluster "{arguments.name}" ...', file=sys.stderr)
    if not cluster.delete(arguments.name, kubeconfig_file=arguments.kubeconfig):
        print(f'There was no cluster "{arguments.name}".', file=sys.stderr)
    return 0


def _get_clusters(_: argparse.Namespace) -> int:
    names = cluster.names()
    if not names:
        # kind's exact message, for scripts that look for it.
        print("No kind clusters found.", file=sys.stderr)
    for name in names:
        print(name)
    return 0


def _get_kubeconfig(arguments: argparse.Namespace) -> int:
    print(kubeconfig.render(cluster.load(arguments.name)), end="")
    return 0


def _load(_: argparse.Namespace) -> int:
    print("Nothing to load: kwok simulates the containers of this cluster; no image is pulled or run.", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    for process in cluster.check(arguments.name):
        print(f"{process.name} runs, pid {process.pid}")
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    cluster.restart_apiserver(arguments.name)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    print(toolchain.build(arguments.programs or toolchain.PROGRAMS))
    return 0


def _bin(_: argparse.Namespace) -> int:
    print(toolchain.bin_folder())
    return 0
