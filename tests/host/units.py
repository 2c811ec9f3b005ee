"""The shipped units, installed on a booted machine from this checkout, and a platform that gives them orders."""

import json
import sys
from typing import Any

import msgspec

from agent.identity import Pinned
from shared.codec import decode, encode
from shared.documents import Document, open_signed
from shared.messages import Command, Result
from tests.agent.wiper.harness import HARDWARE_ID, Platform
from tests.host.machines import SOURCE, Machine

DEPLOY = SOURCE / "deploy"
STATE = "/var/lib/rackproof-wiper"

INSTALL = r"""
import pathlib, subprocess, sys
deploy, units = pathlib.Path(sys.argv[1]), pathlib.Path('/etc/systemd/system')
for name in ('rackproof-agent.service', 'rackproof-wiper.socket', 'rackproof-wiper@.service', 'rackproof-resume.service'):
    (units / name).write_bytes((deploy / 'systemd' / name).read_bytes())
subprocess.run(['systemd-sysusers', deploy / 'systemd/rackproof.sysusers.conf'], check=True)
etc = pathlib.Path('/etc/rackproof')
etc.mkdir(exist_ok=True)
(etc / 'policy.toml').write_bytes((deploy / 'policy.toml').read_bytes())
(etc / 'policy.toml').chmod(0o644)
# Where this checkout's environment is, and nothing else.
bin = pathlib.Path(sys.argv[2]).parent
for name in ('rackproof-wiper@.service', 'rackproof-resume.service'):
    text = (units / name).read_text().replace('/opt/rackproof/bin', str(bin))
    start = next(line for line in text.splitlines() if line.startswith('ExecStart='))
    folder = units / f'{name}.d'
    folder.mkdir(exist_ok=True)
    (folder / 'path.conf').write_text('[Service]\nExecStart=\n' + start + '\n')
# An interpreter in root's home, where a developer may have one, is hidden from the agent's user.
interpreter = pathlib.Path(sys.argv[4])
if interpreter.is_relative_to('/root'):
    pathlib.Path('/root').chmod(0o711)
    (folder / 'seen.conf').write_text('[Service]\nProtectHome=no\nInaccessiblePaths=\n')
folder = units / 'rackproof-wiper@.service.d'
# What the unit lets its processes see and do, written down by one of them.
probe = pathlib.Path('/usr/local/lib/rackproof-probe')
probe.write_text(sys.argv[3])
(folder / 'probe.conf').write_text(f'[Service]\nExecStartPre=/usr/bin/python3 {probe}\n')
subprocess.run(['systemctl', 'daemon-reload'], check=True)
subprocess.run(['systemctl', 'enable', '--now', 'rackproof-wiper.socket'], check=True, capture_output=True)
subprocess.run(['systemctl', 'enable', 'rackproof-resume.service'], check=True, capture_output=True)
"""

PROBE = r"""
import json, os, socket
def opened(family):
    try:
        with socket.socket(family) as one:
            one.settimeout(2)
            one.connect(('127.0.0.1', 22) if family == socket.AF_INET else ('::1', 22))
            return 'connected'
    except OSError as error:
        return error.strerror
status = dict(line.split(':\t') for line in open('/proc/self/status').read().splitlines() if ':\t' in line)
seen = {
    'namespaces': {name: os.readlink('/proc/self/ns/' + name) for name in os.listdir('/proc/self/ns')},
    'links': sorted(line.split(':')[0].strip() for line in open('/proc/self/net/dev').read().splitlines()[2:]),
    'tcp': opened(socket.AF_INET), 'tcp6': opened(socket.AF_INET6),
    'capabilities': status['CapBnd'], 'no_new_privileges': status['NoNewPrivs'],
}
json.dump(seen, open('/run/rackproof-seen', 'w'))
"""

PREPARE = """
import os, sys
from pathlib import Path
from agent import identity, keys
from agent.identity import Pinned
import msgspec
state = Path(sys.argv[1])
state.mkdir(mode=0o700, exist_ok=True)
key = keys.load_or_create(state / 'wiper.key')
identity.save(state / 'pinned.json', msgspec.json.decode(sys.argv[2], type=Pinned))
print(key.public_key().public_bytes_raw().hex())
"""

ASK = r"""
import os, pwd, socket, sys
user = pwd.getpwnam('rackproof')
os.setgroups([]); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
with socket.socket(socket.AF_UNIX) as line:
    line.settimeout(300)
    line.connect('/run/rackproof/wiper.sock')
    line.sendall(sys.argv[1].encode() + b'\n')
    line.shutdown(socket.SHUT_WR)
    while 'hang up' not in sys.argv and (part := line.recv(65536)):
        sys.stdout.buffer.write(part)
        sys.stdout.flush()
"""


class Unit:
    """The installed units of one machine, and whose orders they obey."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.platform = Platform()
        machine.python(INSTALL, str(DEPLOY), sys.executable, PROBE, sys.base_prefix)
        pinned = Pinned(hardware_id=HARDWARE_ID, customer_id="cu-1", origin="https://x", trust=self.platform.trust())
        self.public_key = bytes.fromhex(machine.python(PREPARE, STATE, msgspec.json.encode(pinned).decode()).strip())

    def ask(self, command: Command, kind: type[Document]) -> Any:
        """Hand an order over as the agent's user does, and return the verified answer."""
        said = self.machine.python(ASK, encode(command).decode())
        answer = decode(said.splitlines()[-1].encode())
        assert isinstance(answer, Result), answer
        return open_signed(answer.envelope, kind, self.public_key)

    def seen(self) -> dict[str, Any]:
        """What the last process of the unit saw."""
        return json.loads(self.machine.run("cat", "/run/rackproof-seen"))
