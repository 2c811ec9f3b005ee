"""What the wiper's unit may not do itself is done all the same: tried in its own sandbox, looked at from outside."""

import json
import sys
from typing import Any

import pytest

from tests.host.machines import SOURCE, Machine
from tests.host.units import DEPLOY

pytestmark = [pytest.mark.root, pytest.mark.slow]

SANDBOX = r"""
import pathlib, subprocess, sys
text, python, source, code, when = sys.argv[1:]
place = pathlib.Path('/etc/rackproof-trial.py')
place.write_text(code)
lines = [line for line in text.splitlines() if not line.startswith(('ExecStart=', 'Type=', 'Standard'))]
lines += ['Type=oneshot', f'ExecStart={python} -B {place}', f'Environment=PYTHONPATH={source}']
lines += ['StandardOutput=truncate:/var/said', 'StandardError=journal', 'TimeoutStartSec=60']
if when == 'early':
    lines = ['[Install]', 'WantedBy=basic.target', *lines]
    lines.insert(lines.index('[Unit]') + 1, 'Before=basic.target')
unit = pathlib.Path('/etc/systemd/system/rackproof-trial.service')
unit.write_text('\n'.join(lines) + '\n')
subprocess.run(['systemctl', 'daemon-reload'], check=True)
if when == 'early':
    subprocess.run(['systemctl', 'enable', 'rackproof-trial'], check=True, capture_output=True)
elif subprocess.run(['systemctl', 'start', 'rackproof-trial']).returncode:
    sys.exit(subprocess.run(['journalctl', '-n', '30', '-u', 'rackproof-trial'], capture_output=True).stdout)
"""

STACK = r"""
import os, subprocess
def mount(*words): subprocess.run(['mount', *words], check=True)
for place, mode in ((b'/mnt/stack', '--make-shared'), (b'/mnt/closed', '--make-unbindable'), (b'/mnt/odd\xff', '--make-shared')):
    os.mkdir(place)
    mount('-t', 'tmpfs', 'lower', place)
    mount(mode, place)
    open(place + b'/below', 'w').close()
    mount('-t', 'tmpfs', 'upper', place)
    mount('-t', 'tmpfs', 'uppermost', place)
"""

UNCOVER = r"""
import json, os
from agent.wiper.system import mountinfo, uncover
seen = {}
for one in mountinfo.current():
    if one.source == 'lower':
        root = uncover.root_of(one)
        seen[os.fsencode(one.point).decode('latin-1')] = os.listdir(f'/proc/self/fd/{root}')
print(json.dumps(seen))
"""

END = r"""
import os, signal, time
from agent.wiper.system.children import in_child
from agent.wiper.system.tools import run
def seconds(call):
    before = time.monotonic()
    try: call()
    except TimeoutError: pass
    return time.monotonic() - before
def stopped():
    os.kill(os.getpid(), signal.SIGSTOP)
    return b''
print(int(max(seconds(lambda: run('sleep', '4711', deadline_s=0.5, user=(4711, 4711))),
              seconds(lambda: in_child(stopped, 0.5, (4711, 4711))))))
"""

SWAP = r"""
import errno
from agent.wiper.system import apart
from agent.wiper.system.tasks import SwapOff
open('/var/no-swap', 'w').close()
try: apart.do(SwapOff('/var/no-swap'), 10)
except OSError as error: print(errno.errorcode[error.errno])
"""

EARLY = r"""
import json, os
from agent.wiper.tenant import sshd
from agent.wiper.system.ground import real_machine
from agent.wiper.tenant.inspection import accounts_of
before = os.path.exists('/run/sshd') or os.path.exists('/run/dbus/pid')
ground = real_machine()
files, programs, unseen = sshd.survey(ground, accounts_of(ground))
rest = before or os.path.exists('/run/sshd')
print(json.dumps([rest, [one.path for one in files if one.path.startswith('/etc/keys')], programs, unseen]))
"""

ENGINE = r"""
import os, subprocess
os.mkdir('/run/engine')
open('/run/engine/containerd', 'w').write('#!/bin/sh\nsleep 1000\n')
os.chmod('/run/engine/containerd', 0o755)
started = subprocess.Popen(['/run/engine/containerd', '--root', '/data/c'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(started.pid)
"""

TOLD = r"""
from agent.wiper.engines import storage
print(storage.configured())
"""


def confined(machine: Machine, code: str, when: str = "now") -> None:
    """Run Python in the sandbox of the shipped unit; what it prints is in /var/said."""
    text = (DEPLOY / "systemd/rackproof-wiper@.service").read_text()
    machine.python(SANDBOX, text, sys.executable, str(SOURCE), code, when)


def said(machine: Machine) -> Any:
    return machine.run("cat", "/var/said").strip()


@pytest.fixture(scope="module")
def stacked(machine: Machine) -> Machine:
    """With files in mounts that lie under two others, one of which no copy of the machine's mounts would hold."""
    machine.python(STACK)
    return machine


FOUND = {"/mnt/stack": ["below"], "/mnt/closed": ["below"], "/mnt/odd\xff": ["below"]}


def test_what_other_mounts_hide_is_seen_and_stays_hidden(stacked: Machine) -> None:
    """No mount of the machine's goes or comes, whether it is shared, cannot be bound, or has no name in UTF-8."""
    before = stacked.run("od", "-c", "/proc/1/mountinfo")
    confined(stacked, UNCOVER)
    assert json.loads(said(stacked)) == FOUND
    assert stacked.run("od", "-c", "/proc/1/mountinfo") == before


def test_nothing_is_left_of_the_asking(stacked: Machine) -> None:
    """Neither a socket nor a unit."""
    confined(stacked, UNCOVER)
    assert stacked.run("find", "/run", "-maxdepth", "1", "-name", "rackproof-*") == ""
    assert stacked.run("systemctl", "list-units", "--all", "--no-legend", "run-*.service") == ""


def test_a_file_is_swapped_off_by_a_process_that_may(machine: Machine) -> None:
    """The kernel says what is wrong with the file, and not that nobody may ask."""
    confined(machine, SWAP)
    assert said(machine) == "EINVAL"


def test_what_runs_as_somebody_else_and_hangs_is_ended(machine: Machine) -> None:
    """A tool of another user's, and a child that became him and was stopped, by a wiper that may not kill as root."""
    confined(machine, END)
    assert int(said(machine)) <= 2
    assert machine.run("sh", "-c", "pgrep -u 4711 || true") == ""


def test_it_works_as_early_as_an_interrupted_wipe_goes_on(machine: Machine) -> None:
    """Before basic.target, when no message bus runs yet, nor sshd, whose run-time directory is missing."""
    # Then each user is asked about.
    machine.run(
        "sh", "-c", "printf '%s\\n' 'Match User games' 'AuthorizedKeysFile /etc/keys/%u' >> /etc/ssh/sshd_config"
    )
    confined(machine, EARLY, "early")
    machine.power_off()
    machine.boot()
    assert json.loads(said(machine)) == [False, ["/etc/keys/games"], [], []]


def test_what_an_engine_was_told_when_it_was_started_is_seen(machine: Machine) -> None:
    """It may do more than the wiper, to which the kernel does not even show its program."""
    started = machine.python(ENGINE).strip()
    confined(machine, TOLD)
    machine.run("kill", started)
    assert said(machine) == "('/data/c',)"
