"""A full disk, on a small file system of the test's own: told with a code, survived, and nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.database import Database, BALLAST_BYTES
from agent.outbox import Outbox
from shared.codes import Trouble
from shared.messages import Measured

folder = Path(sys.argv[1])
report = {"cpu": Measured(values={f"v{n}": "x" * 200 for n in range(20)}, took_ms=1.0)}

def fill():
    with (folder / f"tenant{len(list(folder.iterdir()))}").open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536); file.flush()
        except OSError:
            pass

def add():
    return outbox.add("boot", datetime.now(UTC), report)

database = Database(folder / "agent.db")
outbox = Outbox(database)
assert add() == 1
assert (folder / "ballast").stat().st_size == BALLAST_BYTES
fill()
assert add() == 2
assert not (folder / "ballast").exists()
fill()
code = None
for _ in range(2000):
    try:
        add()
    except Trouble as trouble:
        code = trouble.code
        break
print(code)
kept = outbox.depth()
for tenant in folder.glob("tenant*"):
    tenant.unlink()
last = add()
assert outbox.depth() == kept + 1
assert (folder / "ballast").exists()
print("survived", last - kept)
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system of its own")
def test_a_full_disk_frees_the_ballast_and_loses_nothing(tmp_path):
    """First the ballast gives room; then adding is refused with its code; with room again it goes on."""
    script = 'mount -t tmpfs -o size=200m small "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["state_unwritable", "survived", "1"]
