"""A throw-away view: real root inside, nothing of it real, gone when its command ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.agent.wiper.harness import SOURCE, Machine

pytestmark = pytest.mark.root


def view(directory: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "agent.host.view", str(directory), *options, "--"]


def test_what_is_written_in_a_view_is_gone(machine: Machine, tmp_path: Path) -> None:
    """Only a bound directory keeps it; the machine's account files are the same as before."""
    before = Path("/etc/passwd").read_bytes()
    (tmp_path / "kept").mkdir()
    (tmp_path / "view").mkdir()
    script = f"useradd -m stranger && echo x > /etc/marker && echo kept > {tmp_path}/kept/file && rm -rf /var/tmp/* && exit 7"
    argv = [*view(tmp_path / "view", "--bind", str(tmp_path / "kept")), "sh", "-c", script]
    done = subprocess.run(argv, cwd=SOURCE, capture_output=True, check=False)
    assert done.returncode == 7, done.stderr
    assert Path("/etc/passwd").read_bytes() == before
    assert not Path("/etc/marker").exists()
    assert not Path("/home/stranger").exists()
    assert (tmp_path / "kept/file").read_text() == "kept\n"
    assert list((tmp_path / "view").iterdir()) == []


def test_a_view_sees_no_process_and_no_kernel_object_of_the_machine(machine: Machine, tmp_path: Path) -> None:
    """Its own processes only, numbered from 1."""
    script = "import os; print(sorted(int(one) for one in os.listdir('/proc') if one.isdigit()))"
    argv = [*view(tmp_path), sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=SOURCE, capture_output=True, check=True)
    assert done.stdout == b"[1, 2]\n"


def test_a_view_ends_with_all_its_processes(machine: Machine, tmp_path: Path) -> None:
    """Those it left behind, and all of them when its starter is killed."""
    (tmp_path / "kept").mkdir()
    beat = f"while :; do date +%s%N > {tmp_path}/kept/beat; sleep 0.05; done"
    for script in (f"({beat}) & sleep 0.3", f"({beat}) & sleep 100"):
        argv = [*view(tmp_path, "--bind", str(tmp_path / "kept")), "sh", "-c", script]
        process = subprocess.Popen(argv, cwd=SOURCE)
        if script.endswith("100"):
            time.sleep(1)
            process.kill()
        process.wait(timeout=20)
        time.sleep(0.2)
        last = (tmp_path / "kept/beat").read_text()
        time.sleep(0.3)
        assert (tmp_path / "kept/beat").read_text() == last
