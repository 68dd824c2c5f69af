"""Whether a change of the chart's version crosses a breaking version.

Source of the format: Semantic Versioning 2, as Helm reads it (a leading v and missing parts are allowed).
"""

import semver

from managedchart_operator.errors import LifecycleError


def _parse(version: str) -> semver.Version:
    text = version.removeprefix("v")
    core = text.split("-")[0].split("+")[0]
    missing = 2 - core.count(".")
    if missing > 0:
        text = core + ".0" * missing + text[len(core) :]
    try:
        return semver.Version.parse(text)
    except ValueError as error:
        raise LifecycleError(
            f'"{version}" is not a semantic version, so it cannot be compared with lastBreakingVersionRequiringRestart',
            transient=False,
        ) from error


def crosses(*, installed: str, breaking: str, new: str) -> bool:
    """Whether going from `installed` to `new` passes the `breaking` version: installed < breaking <= new.

    A downgrade, or an upgrade that stays below it, does not: an uninstall would destroy without need.
    Raises LifecycleError for what is not a version.
    """
    return _parse(installed) < _parse(breaking) <= _parse(new)
