"""The program that helm starts for an upgrade in which fields are left to their managers: a post-renderer.

helm passes what it rendered to its standard input, and applies what it prints. Its one argument is the path of a memory file
that has the fields (`left_fields`). Exit code 1 ends helm before it has applied anything.
Source: Helm documentation, "Post Rendering"; plug-in type postrenderer/v1 of Helm 4 (plugins/leave-fields/plugin.yaml).
"""

import sys
from pathlib import Path

from managedchart_operator.helm.left_fields import LeftFields
from managedchart_operator.helm.manifest import ManifestError

PLUGINS = Path(__file__).with_name("plugins")
"""The folder that HELM_PLUGINS names."""
NAME = "leave-fields"
"""The name of the plug-in for --post-renderer."""
PYTHON = "MANAGEDCHART_PYTHON"
"""The environment variable that names the interpreter for the plug-in."""


def main() -> int:
    """Edit the manifest on the standard input."""
    fields = LeftFields.decode(Path(sys.argv[1]).read_bytes())
    try:
        edited = fields.apply(sys.stdin.buffer.read().decode())
    except ManifestError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(edited.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
