"""A platform that signs orders, and a wiper that gets them on its stdin, as in the field."""

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import identity, keys
from agent.identity import Pinned
from agent.wiper.desk import Desk
from agent.wiper.engines.containers import STORAGE
from agent.wiper.evidence import Machine as Facts
from agent.wiper.policy import load as load_policy
from agent.wiper.system.ground import simulated_machine
from shared.codec import decode, encode
from shared.documents import (
    Document,
    GrantOutcome,
    GrantWork,
    Order,
    Target,
    Trust,
    WipeEvidence,
    WipeWork,
    Work,
    open_signed,
    sign,
)
from shared.envelope import Envelope, Signed
from shared.messages import Accepted, Command, Message, Refused, Result
from shared.records import WipeMethod

D = TypeVar("D", bound=Document)

HARDWARE_ID = "hw_test"
ENVELOPE = Envelope(payload=b"{}", payloadType="t", signatures=(Signed(keyid="k", sig=bytes(64)),))
"""For where its content does not matter."""
PURGE = (WipeMethod.HOME_DIRECTORY_PURGE,)
SOURCE = Path(__file__).parents[3]
SYSTEM = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found"}
    | {"proc", "run", "sbin", "sys", "usr", "var"}
)
"""What a machine has at its top without which nothing runs. Source: Filesystem Hierarchy Standard 3.0, chapter 3."""
BULKY = ("/var/tmp", "/usr/share", "/usr/include", "/usr/local/lib", "/usr/src", "/var/cache", "/var/lib/apt")


class Platform:
    """Signs orders for one machine, with rising sequence numbers."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.seq = 0

    def trust(self) -> Trust:
        raw = self.key.public_key().public_bytes_raw()
        other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        return Trust(collector_public_key=other, order_public_key=raw, signing="external")

    def order(self, work: Work, **changes: object) -> Order:
        self.seq += 1
        now = datetime.now(UTC)
        given: dict[str, object] = {
            "aud": HARDWARE_ID,
            "command_id": f"c-{uuid.uuid4().hex}",
            "seq": self.seq,
            "work": work,
            "booking_id": "b-1",
            "issued_at": now,
            "expires_at": now + timedelta(hours=1),
            "requested_by": "somebody",
        }
        return Order(**(given | changes))

    def command(self, order: Order) -> Command:
        return Command(command_id=order.command_id, envelope=sign(order, self.key))

    def wipe(self, target: Target, **changes: object) -> Command:
        return self.command(self.order(WipeWork(target=target, methods=PURGE), **changes))

    def grant(self, username: str, *ssh_keys: str, **changes: object) -> Command:
        return self.command(self.order(GrantWork(username=username, ssh_keys=ssh_keys), **changes))


class Wiper:
    """The program, with its state directory; `prefix` puts it somewhere else than beside the tests."""

    def __init__(self, state: Path, arguments: tuple[str, ...], prefix: tuple[str, ...] = ()) -> None:
        self.state = state
        self.arguments = arguments
        self.prefix = prefix
        self.public_key = keys.load(state / "wiper.key").public_key().public_bytes_raw()

    def argv(self) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "agent.wiper", "--state", str(self.state), *self.arguments]

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.argv(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
        )
        assert process.stdin is not None
        process.stdin.write(encode(command) + b"\n")
        process.stdin.close()
        process.stdin = None
        return process

    def raw(self, command: Command) -> bytes:
        """Return all it wrote to stdout; it must have answered."""
        process = self.start(command)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        return out

    def ask(self, command: Command) -> Message:
        """Return its last word, after checking that it answered in the right order."""
        messages = [decode(line) for line in self.raw(command).splitlines()]
        answers = [one for one in messages if isinstance(one, Refused | Result)]
        assert answers == messages[-1:]
        assert len(messages) == 1 or isinstance(messages[0], Accepted)
        return answers[0]

    def refusal(self, command: Command) -> str:
        answer = self.ask(command)
        assert isinstance(answer, Refused), answer
        return answer.code

    def outcome(self, command: Command, kind: type[D]) -> D:
        answer = self.ask(command)
        assert isinstance(answer, Result), answer
        return open_signed(answer.envelope, kind, self.public_key)

    def grant(self, command: Command) -> Target:
        return self.outcome(command, GrantOutcome).target

    def wipe(self, command: Command) -> WipeEvidence:
        return self.outcome(command, WipeEvidence)


def state_for(path: Path, platform: Platform) -> Path:
    path.mkdir(mode=0o700, parents=True)
    keys.load_or_create(path / "wiper.key")
    pinned = Pinned(hardware_id=HARDWARE_ID, customer_id="cu-1", origin="https://x", trust=platform.trust())
    identity.save(path / "pinned.json", pinned)
    return path


class SimulatedWiper(Wiper):
    """The same on a simulated machine; answers that need no process of their own are had without one, which is faster."""

    def __init__(self, state: Path, tree: Path, policy: Path | None = None) -> None:
        given = ("--sandbox", str(tree)) if policy is None else ("--sandbox", str(tree), "--policy", str(policy))
        super().__init__(state, given)
        self.tree = tree
        self.policy = policy

    def raw(self, command: Command) -> bytes:
        lines: list[bytes] = []
        ground = simulated_machine(self.tree)
        facts = Facts(simulated=True, agent_version="0", kernel="k", os="o", boot_id="b")
        pinned, key = identity.load(self.state / "pinned.json"), keys.load(self.state / "wiper.key")
        policy = load_policy(self.policy)
        desk = Desk(self.state, pinned, key, policy, ground, facts, lambda: datetime.now(UTC), lines.append)
        desk.serve(command)
        ground.close()
        return b"".join(line + b"\n" for line in lines)


class Machine:
    """A throw-away view of this machine, alive until it is closed; everything below happens inside it."""

    def __init__(self, directory: Path, state: Path, *, hide: tuple[str, ...] = BULKY) -> None:
        argv = [sys.executable, "-m", "agent.host.view", str(directory), "--bind", str(state)]
        # What is not needed is hidden, so that looking at the whole machine takes less time.
        tops = (path for path in Path("/").iterdir() if path.name not in SYSTEM)
        for path in (*sorted(tops), *map(Path, hide), *map(Path, STORAGE)):
            argv += ["--hide", str(path)] if path.is_dir() and not path.is_symlink() else []
        for path in sorted({sys.prefix, sys.base_prefix, str(SOURCE)}):
            argv += ["--show", path]
        self._view = subprocess.Popen(
            [*argv, "--", "sh", "-c", "echo ready; exec sleep 3600"],
            stdout=subprocess.PIPE,
            cwd=SOURCE,
        )
        assert self._view.stdout is not None
        assert self._view.stdout.readline() == b"ready\n", "no namespaces"
        first = Path(f"/proc/{self._view.pid}/task/{self._view.pid}/children").read_text().split()[0]
        self.prefix = ("nsenter", "-t", first, "-m", "-p", "-i")

    def run(self, *argv: str, patience_s: float = 120, given: str = "") -> str:
        done = subprocess.run(
            [*self.prefix, *argv], capture_output=True, timeout=patience_s, check=False, input=given.encode()
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def python_argv(self, code: str, *argv: str) -> list[str]:
        return ["env", f"PYTHONPATH={SOURCE}", sys.executable, "-B", "-c", code, *argv]

    def python(self, code: str, *argv: str, given: str = "") -> str:
        return self.run(*self.python_argv(code, *argv), given=given)

    def close(self) -> None:
        self._view.terminate()
        self._view.wait()
        assert self._view.stdout is not None
        self._view.stdout.close()
