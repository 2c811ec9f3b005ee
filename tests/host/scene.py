"""A hostile tenant and his neighbours in a throw-away view of this machine, and an inspection of it from outside."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from shared.documents import Target, WipeEvidence, WipeWork
from shared.records import WipeMethod
from tests.agent.wiper.harness import BULKY, SOURCE, Machine, Platform, Wiper, state_for

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f tenant"
ARRANGE = """
import subprocess, sys
from pathlib import Path
from tests.host.tenant import sentinels, traps
policy, uid = sys.argv[1], int(sys.argv[2])
Path(policy).write_text(f'uid_min = {uid}\\n')
with Path('/etc/login.defs').open('a') as defaults:
    for kind in ('UID', 'GID'):
        defaults.write(f'SUB_{kind}_MIN {uid * 65536}\\nSUB_{kind}_MAX {uid * 65536 + 600_000_000}\\n')
traps.furnish()
subprocess.run(['useradd', '--create-home', '--uid', '3000', 'bob'], check=True)
sentinels.settle(f'mallory{uid}', 'bob')
"""
"""Given the policy's path and a uid: the tenant's uid and subordinate ids are about those."""

SIZE = ("2000", "5000")
"""Files and levels of directories in his home."""

PLANT = """
import json, os, sys
from pathlib import Path
from tests.host.tenant import inspector, sentinels, traps
os.umask(0o022)
name, held, files, levels, without = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
who = inspector.describe(name)
sentinels.save(sentinels.make(name, 'bob'), held / 'sentinels')
tenant = traps.tenant_of(name, neighbour='bob', files=files, levels=levels)
planted = traps.plant(tenant, [name for name, one in traps.TRAPS.items() if not {one.by, one.category} & set(without)])
(held / 'who').write_text(json.dumps(who._asdict()))
print(json.dumps([vars(one) for one in planted]))
"""

LOOK = """
import json, sys
from pathlib import Path
from tests.host.tenant import inspector, sentinels
held, scope = Path(sys.argv[1]), sys.argv[2]
report = inspector.inspect(inspector.record(json.loads((held / 'who').read_text())), scope)
print(json.dumps({
    'residues': report.residues, 'unseen': report.unseen,
    'damages': sentinels.verify(sentinels.load(held / 'sentinels')),
}))
"""


_numbers = itertools.count()


def fresh_uid() -> int:
    """Return a uid that no other test of this moment uses: keyrings and loop devices are the whole kernel's."""
    return 10_000 + (os.getpid() * 101 + next(_numbers) * 7) % 45_000


MUTANT = """
import sys
from agent.wiper import plan
step = sys.argv.pop(1)
plan._ORDER = {method: tuple(one for one in steps if one.step != step) for method, steps in plan._ORDER.items()}
from agent.wiper.__main__ import main
main()
"""


class Mutant(Wiper):
    """The program without one of its steps."""

    def __init__(self, whole: Wiper, step: str) -> None:
        super().__init__(whole.state, whole.arguments, whole.prefix)
        self._step = step

    def argv(self) -> list[str]:
        python, rest = [sys.executable, "-c", MUTANT, self._step], super().argv()
        return [*self.prefix, *python, *rest[rest.index("--state") :]]


class Scene:
    """A view of this machine with a granted tenant in it."""

    def __init__(self, tmp_path: Path, *, hide: tuple[str, ...] = BULKY) -> None:
        platform = Platform()
        self.state = state_for(tmp_path / "state", platform)
        (tmp_path / "view").mkdir()
        self._platform = platform
        self.machine = Machine(tmp_path / "view", self.state, hide=hide)
        policy, uid = self.state / "policy.toml", fresh_uid()
        self.machine.python(ARRANGE, str(policy), str(uid))
        self._wiper = Wiper(self.state, ("--policy", str(policy)), self.machine.prefix)
        self.target: Target = self._wiper.grant(platform.grant(f"mallory{uid}", KEY))

    def plant(self, *without: str, size: tuple[str, str] = SIZE) -> list[dict[str, Any]]:
        """Set the traps, without those that `root` set or those of a category, where that is said."""
        return json.loads(self.machine.python(PLANT, self.target.username, str(self.state), *size, *without))

    def plan(self, method: WipeMethod) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return what the dry run says: its items, and its summary."""
        argv = [*self._wiper.argv(), f"--plan={self.target.username}", f"--method={method}"]
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        done = subprocess.run(argv, env=environment, capture_output=True, check=True, timeout=120)
        *items, summary = map(json.loads, done.stdout.splitlines())
        return items, summary

    def wipe(self, method: WipeMethod, *, without: str | None = None) -> WipeEvidence:
        """Wipe him; `without`: by a wiper that leaves this step out, but for its look afterwards."""
        work = WipeWork(target=self.target, methods=(method,))
        wiper = self._wiper if without is None else Mutant(self._wiper, without)
        return wiper.wipe(self._platform.command(self._platform.order(work)))

    def look(self, method: WipeMethod) -> dict[str, Any]:
        return json.loads(self.machine.python(LOOK, str(self.state), method.value))

    def close(self) -> None:
        self.machine.close()
