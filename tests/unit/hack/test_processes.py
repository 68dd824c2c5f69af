"""Pid files of the devcluster: one that is read while it is written shows a whole process."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "hack" / "devcluster"))

from controlplane import processes


def test_a_reader_of_a_pid_file_never_sees_half_of_it(tmp_path: Path) -> None:
    """A file that is emptied and then written shows a moment of nothing to whoever reads it meanwhile."""
    processes.record("etcd", os.getppid(), tmp_path)
    with (tmp_path / "etcd.pid").open() as reader:
        processes.record("etcd", os.getpid(), tmp_path)
        assert f'"pid": {os.getppid()},' in reader.read()

    assert [process.pid for process in processes.recorded(tmp_path)] == [os.getpid()]
    assert [file.name for file in tmp_path.iterdir()] == ["etcd.pid"]
