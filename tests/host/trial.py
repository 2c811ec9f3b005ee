"""One hostile tenant on a booted machine of his own, whose wipe goes through the shipped units."""

import json
import re
import subprocess
import time
from typing import Any

from shared.codec import decode, encode
from shared.documents import GrantOutcome, Target, WipeEvidence, WipeWork, open_signed
from shared.messages import Command, Progress, Result
from shared.records import WipeMethod
from tests.host.machines import Machine
from tests.host.scene import ARRANGE, KEY, LOOK, PLANT
from tests.host.units import ASK, STATE, Unit

SIZE = ("500", "1000")

HELD = "/var/lib/trial"
RENUMBERED = re.compile(r"inode was \d+ and is \d+$")
NUMBER = re.compile(r"\d+")

JOURNAL = """
import collections, json, sys
from pathlib import Path
from agent.wiper.journal import Journal
entries = Journal(Path(sys.argv[1]) / 'journal.db').entries
print(json.dumps(collections.Counter(type(one.fact).__name__ for one in entries
                                     if getattr(one.fact, 'command_id', '') == sys.argv[2])))
"""


class Trial:
    """One tenant on a machine of his own."""

    def __init__(self, machine: Machine, uid: int, *without: str) -> None:
        self.machine = machine
        self.unit = Unit(machine)
        machine.run("mkdir", "-m", "700", HELD)
        machine.python(ARRANGE, "/etc/rackproof/policy.toml", str(uid))
        outcome = self.unit.ask(self.unit.platform.grant(f"mallory{uid}", KEY), GrantOutcome)
        self.target: Target = outcome.target
        self.planted = json.loads(machine.python(PLANT, self.target.username, HELD, *SIZE, *without))
        machine.run("sync")
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

    def cut_in(self, step: str) -> bool:
        """Give the order and cut the power when it comes to a step; boot. Return whether it came there."""
        argv = [*self.machine.prefix, *self.machine.python_argv(ASK, encode(self.order).decode())]
        asking = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert asking.stdout is not None
        messages = (decode(line) for line in asking.stdout)
        reached = any(isinstance(one, Progress) and one.step == step for one in messages)
        self.machine.cut_power()
        asking.communicate(timeout=60)
        self.machine.boot(whole=False)
        return reached

    def ask(self) -> bytes:
        """Give the order and return the answer's bytes."""
        return self.machine.python(ASK, encode(self.order).decode()).splitlines()[-1].encode()

    def evidence(self, answer: bytes) -> WipeEvidence:
        message = decode(answer)
        assert isinstance(message, Result), message
        return open_signed(message.envelope, WipeEvidence, self.unit.public_key)

    def damages(self) -> frozenset[str]:
        """In words; but for the numbers of directories, which an overlay gives anew at each boot."""
        told = self._look()["damages"]
        return frozenset(NUMBER.sub("", one) for one in told if not RENUMBERED.search(one))

    def residues(self) -> list[Any]:
        seen = self._look()
        assert seen["unseen"] == []
        return seen["residues"]

    def _look(self) -> dict[str, Any]:
        return json.loads(self.machine.python(LOOK, HELD, WipeMethod.USER_DELETION.value))

    def journalled(self) -> dict[str, int]:
        return json.loads(self.machine.python(JOURNAL, STATE, self.order.command_id))
