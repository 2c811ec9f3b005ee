"""What a neighbour without root puts in the way of looks: it is his, it stays, and it leaves no doubt about others."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.wiper.steps import Subject
from agent.wiper.steps.dumps import Dumps
from agent.wiper.system.ground import Ground
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.tenant.sshd import KeyFile, read


@pytest.mark.parametrize("what", ["directory", "device", "loop"])
def test_a_key_file_that_sshd_takes_no_keys_from_holds_none(tmp_path: Path, what: str) -> None:
    """For sshd itself wants a regular file that it can reach."""
    path = tmp_path / "authorized_keys"
    if what == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else path)
    assert read(KeyFile(str(path), (), os.geteuid(), os.getegid())) == ""


@pytest.mark.root
def test_a_name_like_a_crash_report_makes_nothing_the_tenants(tmp_path: Path) -> None:
    """Anybody may write to the directory; a report is written by root, or for him."""
    if os.geteuid() != 0:
        pytest.skip("root, to give files to others")
    folder = tmp_path / "var/crash"
    folder.mkdir(parents=True)
    for name, owner in (("_x.2000.crash", 2000), ("_y.2000.crash", 0), ("mine.2000.crash", 3000)):
        (folder / name).touch()
        os.chown(folder / name, owner, owner)
    (folder / "z.2000.crash").mkdir()
    ground = Ground(tmp_path, simulated=False)
    tenant = Tenant(
        name="t",
        uid=2000,
        home="/home/t",
        generation="g",
        booking_id=None,
        command_id="c",
        granted_at=datetime.now(UTC),
    )
    step = Dumps(Subject(ground, tenant))
    assert {item.where for item in step.list()} == {"/var/crash/_x.2000.crash", "/var/crash/_y.2000.crash"}
    step.erase(lambda _done, _of: None)
    ground.close()
    assert {path.name for path in folder.iterdir()} == {"mine.2000.crash", "z.2000.crash"}
