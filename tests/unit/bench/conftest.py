"""bench/ is a source root of its own, as hack/devcluster is."""

import sys

from conftest import REPOSITORY

sys.path.append(str(REPOSITORY / "bench"))
