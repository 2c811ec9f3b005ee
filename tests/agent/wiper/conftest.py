"""A platform that signs orders, and a wiper that gets them on its stdin, as in the field."""

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import identity, keys
from agent.identity import Pinned
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
from shared.messages import Accepted, Command, Message, Refused, Result
from shared.records import WipeMethod

D = TypeVar("D", bound=Document)

HARDWARE_ID = "hw_test"
PURGE = (WipeMethod.HOME_DIRECTORY_PURGE,)
SOURCE = Path(__file__).parents[3]


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


@pytest.fixture
def platform() -> Platform:
    return Platform()


def state_for(path: Path, platform: Platform) -> Path:
    path.mkdir(mode=0o700, parents=True)
    keys.load_or_create(path / "wiper.key")
    pinned = Pinned(hardware_id=HARDWARE_ID, customer_id="cu-1", origin="https://x", trust=platform.trust())
    identity.save(path / "pinned.json", pinned)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The simulated machine's directory."""
    return tmp_path / "machine"


@pytest.fixture
def wiper(tmp_path: Path, tree: Path, platform: Platform) -> Wiper:
    """A wiper of a simulated machine."""
    return Wiper(state_for(tmp_path / "state", platform), ("--sandbox", str(tree)))
