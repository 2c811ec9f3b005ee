"""
The kernel log within the agent's shipped unit, on a booted machine: handed over by systemd, read by a user who may not open it.

The log is this host's: a container has no kernel of its own. What happens in it is real: a damaged file system is mounted.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.machines import PATH, SOURCE
from tests.host.units import DEPLOY, Unit

pytestmark = [pytest.mark.root, pytest.mark.slow]

PREPARE = r"""
import pathlib, subprocess, sys
deploy, python, source, inside = sys.argv[1:]
subprocess.run(['mknod', '-m', '600', '/dev/kmsg', 'c', '1', '11'], check=True)
folder = pathlib.Path('/etc/systemd/system/rackproof-agent.service.d')
folder.mkdir(exist_ok=True)
shipped = pathlib.Path(deploy) / 'systemd/rackproof-agent.service.d/kernel-log.conf'
(folder / 'kernel-log.conf').write_bytes(shipped.read_bytes())
program = pathlib.Path('/usr/local/lib/read-kernel-log')
program.write_text(inside)
lines = ['[Service]', 'Type=oneshot', 'Restart=no', 'ExecStart=', f'ExecStart={python} -B {program}',
    f'Environment=PYTHONPATH={source}', 'StandardOutput=truncate:/run/found.json', 'StandardError=truncate:/run/found.err']
if pathlib.Path(python).resolve().is_relative_to('/root'):
    # An interpreter in root's home, where a developer may have one, is hidden from the agent's user.
    pathlib.Path('/root').chmod(0o711)
    lines += ['ProtectHome=no', 'InaccessiblePaths=']
(folder / 'inside.conf').write_text('\n'.join(lines) + '\n')
unit = '[Service]\nType=oneshot\nExecStart=false\n'
pathlib.Path('/etc/systemd/system/broken.service').write_text(unit)
subprocess.run(['systemctl', 'daemon-reload'], check=True)
subprocess.run(['systemctl', 'start', 'broken.service'], check=False, capture_output=True)
# Its daemon looks for the kernel's log once.
subprocess.run(['systemctl', 'restart', 'systemd-journald.service'], check=True)
"""

INSIDE = r"""
import json, os
from agent import compose
from agent.config import Settings
from agent.indicators import kernel_log, system
host = compose.own_host(Settings(state_dir=os.environ['STATE_DIRECTORY']))
found = {'standard_input': os.readlink('/proc/self/fd/0'), 'user': os.getuid()}
found['log'] = kernel_log.read(host, None).values
found['system'] = system.read(host, None).values
try:
    os.close(os.open('/dev/kmsg', os.O_RDONLY | os.O_NONBLOCK))
except OSError as error:
    found['opened'] = error.strerror
print(json.dumps(found))
"""

RUN = r"""
import pathlib, subprocess, sys
done = subprocess.run(['systemctl', 'start', 'rackproof-agent.service'], capture_output=True, text=True)
print(done.stderr, pathlib.Path('/run/found.err').read_text(), file=sys.stderr)
print(pathlib.Path('/run/found.json').read_text())
"""

FROM_THE_JOURNAL = r"""
import json, os
from agent.host import KernelPosition
from agent.host.kernel import KernelLog
whole = list(KernelLog(journal=lambda: iter(())).messages())
late = os.open('/dev/kmsg', os.O_RDONLY | os.O_NONBLOCK)
for _ in range(len(whole) // 2):
    os.read(late, 16384)
# This kernel may have overwritten some already.
filled = list(KernelLog(late).messages(KernelPosition(whole[0].sequence - 1, whole[0].at_us - 1)))
print(json.dumps([[[one.sequence, one.at_us, one.facility, one.text] for one in some] for some in (whole, filled)]))
"""

DAMAGED = r"""
set -e
truncate -s 8M "$1/disk"
mkfs.ext4 -q -b 1024 "$1/disk"
block=$(debugfs -R 'blocks <2>' "$1/disk" 2>/dev/null | tr -dc 0-9)
dd if=/dev/urandom of="$1/disk" bs=1024 seek="$block" count=1 conv=notrunc status=none
mkdir "$1/mounted"
mount -o loop,ro "$1/disk" "$1/mounted"
ls "$1/mounted" >/dev/null 2>&1 || true
umount "$1/mounted"
"""


@pytest.fixture(scope="module", autouse=True)
def agent(machine):
    """The agent's unit, with the shipped drop-in."""
    Unit(machine)
    machine.python(PREPARE, str(DEPLOY), sys.executable, str(SOURCE), INSIDE)


def found(machine) -> dict:
    return json.loads(machine.python(RUN))


def damage_something(folder: Path, missing) -> None:
    """Mount a file system with a spoilt root directory and look into it."""
    if shutil.which("debugfs", path=PATH) is None:
        missing("debugfs (Debian: e2fsprogs)")
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", DAMAGED, "damage", str(folder)]
    subprocess.run(argv, check=True, capture_output=True, env={"PATH": PATH})


def test_the_log_is_read_by_who_may_not_open_it(machine):
    """Handed over, then taken away from standard input, so that nothing the agent starts has it."""
    told = found(machine)
    assert told["user"] != 0
    assert told["opened"] in {"Operation not permitted", "Permission denied"}
    assert told["standard_input"] == "/dev/null"
    assert "messages_lost" in told["log"]


def test_what_happened_while_the_agent_was_down_is_counted_and_what_was_forged_is_not(machine, tmp_path, missing):
    """A damaged file system by the kernel, an Xid by root who writes into the kernel's log; again after a restart."""
    before = found(machine)["log"]
    damage_something(tmp_path, missing)
    machine.run("sh", "-c", "echo '<0>NVRM: Xid (PCI:0000:3b:00): 79, forged' > /dev/kmsg")
    after = found(machine)["log"]
    grown = {
        device: count - before.get("filesystem_errors", {}).get(device, 0)
        for device, count in after["filesystem_errors"].items()
    }
    assert [device for device, count in grown.items() if count > 0 and device.startswith("loop")], grown
    assert not [name for name in after if name.startswith("xid")]
    assert found(machine)["log"]["filesystem_errors"] == after["filesystem_errors"]


def test_the_log_read_anew_gives_the_same_counts(machine):
    """It is read from its oldest message: what is kept only matters once that was overwritten."""
    told = []
    for _ in range(2):
        machine.run("rm", "-f", "/var/lib/rackproof-agent/kernel_log.json")
        values = found(machine)["log"]
        told.append({name: values[name] for name in values if name not in {"recent", "messages_lost"}})
    assert told[0] == told[1]


def test_failed_units_are_told_within_the_unit(machine):
    """By a service manager that the agent may only ask."""
    told = found(machine)["system"]
    assert told["failed_units"] == 1, told
    assert told["failed_unit_names"] == "broken.service"


def test_what_the_kernel_has_overwritten_comes_from_the_journal(machine):
    """Half of the messages, once from the kernel and once from the journal: the same numbers, times and texts."""
    whole, filled = json.loads(machine.python(FROM_THE_JOURNAL))
    assert [one[0] for one in filled[: len(whole)]] == [one[0] for one in whole]
    # The kernel escapes what is not plain, the journal does not; and it takes a program's name off what a program wrote.
    plain = {one[0]: one for one in whole if "\\" not in one[3] and one[2] == 0}
    assert len(plain) > 10
    assert {one[0]: one for one in filled if one[0] in plain} == plain
