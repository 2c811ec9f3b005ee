"""One hostile tenant on a booted machine of his own, whose wipe goes through the shipped units."""

import itertools
import json
import os
import re
import subprocess
import time
from typing import Any

from shared.codec import decode, encode
from shared.documents import GrantOutcome, Target, WipeEvidence, WipeWork, open_signed
from shared.messages import Command, Result
from shared.records import WipeMethod
from tests.host.machines import Machine
from tests.host.units import ASK, STATE, Unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f tenant"
HELD = "/var/lib/trial"
RENUMBERED = re.compile(r"inode was \d+ and is \d+$")
NUMBER = re.compile(r"\d+")

ARRANGE = """
import subprocess, sys
from pathlib import Path
from tests.host.tenant import traps
policy, uid = sys.argv[1], int(sys.argv[2])
Path(policy).write_text(f'uid_min = {uid}\\n')
with Path('/etc/login.defs').open('a') as defaults:
    for kind in ('UID', 'GID'):
        defaults.write(f'SUB_{kind}_MIN {uid * 65536}\\nSUB_{kind}_MAX {uid * 65536 + 600_000_000}\\n')
traps.furnish()
subprocess.run(['useradd', '--create-home', '--uid', '3000', 'bob'], check=True)
"""
"""Given the policy's path and a uid: the tenant's uid and subordinate ids are about those."""

PLANT = """
import json, os, sys
from pathlib import Path
from tests.host.tenant import inspector, sentinels, traps
os.umask(0o022)
name, held, without = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
who = inspector.describe(name)
sentinels.save(sentinels.make(name, 'bob'), held / 'sentinels')
tenant = traps.tenant_of(name, neighbour='bob', files=500, levels=1000)
planted = traps.plant(tenant, [name for name, one in traps.TRAPS.items() if one.by not in without])
(held / 'who').write_text(json.dumps(who._asdict()))
os.sync()
print(json.dumps([vars(one) for one in planted]))
"""

LOOK = """
import json, sys
from pathlib import Path
from tests.host.tenant import inspector, sentinels
held = Path(sys.argv[1])
report = inspector.inspect(inspector.record(json.loads((held / 'who').read_text())), 'user_deletion')
print(json.dumps({'residues': report.residues, 'unseen': report.unseen}))
"""

DAMAGES = """
import json, sys
from pathlib import Path
from tests.host.tenant import sentinels
manifest = sentinels.load(Path(sys.argv[1]) / 'sentinels')
print(json.dumps(sentinels.verify(manifest)))
"""

JOURNAL = """
import collections, json, sys
from pathlib import Path
from agent.wiper.journal import Journal
entries = Journal(Path(sys.argv[1]) / 'journal.db').entries
print(json.dumps(collections.Counter(type(one.fact).__name__ for one in entries
                                     if getattr(one.fact, 'command_id', '') == sys.argv[2])))
"""


_numbers = itertools.count()


def fresh_uid() -> int:
    """Return a uid that no other test of this moment uses: keyrings and loop devices are the whole kernel's."""
    return 10_000 + (os.getpid() * 101 + next(_numbers) * 7) % 45_000


class Trial:
    """One tenant on a machine of his own."""

    def __init__(self, machine: Machine, uid: int, *without: str) -> None:
        self.machine = machine
        self.unit = Unit(machine)
        machine.run("mkdir", "-m", "700", HELD)
        machine.python(ARRANGE, "/etc/rackproof/policy.toml", str(uid))
        outcome = self.unit.ask(self.unit.platform.grant(f"mallory{uid}", KEY), GrantOutcome)
        self.target: Target = outcome.target
        self.planted = json.loads(machine.python(PLANT, self.target.username, HELD, *without))
        work = WipeWork(target=self.target, methods=(WipeMethod.USER_DELETION,))
        self.order: Command = self.unit.platform.command(self.unit.platform.order(work))

    def cut(self, after_s: float) -> None:
        """Give the order (again), cut the power meanwhile, and boot."""
        argv = [*self.machine.prefix, *self.machine.python_argv(ASK, encode(self.order).decode())]
        asking = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(after_s)
        self.machine.cut_power()
        asking.wait(60)
        self.machine.boot(whole=False)  # a unit of the tenant's may fail

    def ask(self) -> bytes:
        """Give the order and return the answer's bytes."""
        return self.machine.python(ASK, encode(self.order).decode()).splitlines()[-1].encode()

    def evidence(self, answer: bytes) -> WipeEvidence:
        message = decode(answer)
        assert isinstance(message, Result), message
        return open_signed(message.envelope, WipeEvidence, self.unit.public_key)

    def damages(self) -> frozenset[str]:
        """In words; but for the numbers of directories, which an overlay gives anew at each boot."""
        told = json.loads(self.machine.python(DAMAGES, HELD))
        return frozenset(NUMBER.sub("", one) for one in told if not RENUMBERED.search(one))

    def residues(self) -> list[Any]:
        seen = json.loads(self.machine.python(LOOK, HELD))
        assert seen["unseen"] == []
        return seen["residues"]

    def journalled(self) -> dict[str, int]:
        return json.loads(self.machine.python(JOURNAL, STATE, self.order.command_id))
