"""Records the real helm's error output into outputs/*.txt.

Not a test: `python tests/unit/helm/record_outputs.py [name…]` provokes each failure with the command lines that the
operator uses, on a devcluster of its own, and stores helm's stderr. Run it for a new helm version; the diff shows which
texts have changed, and test_errors.py what the error table makes of them.
"""

import importlib
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "operator"))

from recording.recorder import CASES, CHARTS, Recorder  # noqa: E402  (the path is set above)

# In this order their cases run, which numbers their namespaces; those of `releases` end with a stop of the API server.
SECTIONS = ("sources", "rendering", "refusals", "admission", "releases", "gone_kinds")
OUTPUTS = Path(__file__).parent / "outputs"


def neutral(text: str, folder: Path) -> str:
    """Without the folders, ports, times and sizes of this machine and hour."""
    text = re.sub(re.escape(str(folder)) + r"/chart[0-9]+", "/charts", text)
    text = text.replace(str(folder), "/tmp").replace(str(CHARTS), "/charts")
    text = re.sub(r"(?<=127\.0\.0\.1:)[0-9]{4,5}", "6443", text)
    text = re.sub(r"(?<=localhost:)[0-9]{4,5}", "6443", text)
    text = re.sub(r"127\.0\.0\.1:[0-9]+->", "127.0.0.1:40000->", text)
    text = re.sub(r"lookup (\S+) on \S+:", r"lookup \1 on 10.0.0.10:53:", text)
    return re.sub(r"time=\S+ ", "", text)


def main(names: list[str]) -> None:
    for section in SECTIONS:
        importlib.import_module(f"recording.{section}")
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="record-") as folder, Recorder(Path(folder)) as recorder:
        for name, run in CASES.items():
            if names and name not in names:
                continue
            started = time.monotonic()
            try:
                code, text = run(recorder)
            except RuntimeError as error:
                print(f"{name}: COULD NOT BE PROVOKED: {error}")
                continue
            print(f"{name}: exit {code}, {time.monotonic() - started:.1f} s")
            if code == 0:
                print(f"{name}: helm SUCCEEDED")
                continue
            (OUTPUTS / f"{name}.txt").write_text(f"# exit {code}\n{neutral(text, Path(folder))}")


if __name__ == "__main__":
    main(sys.argv[1:])
