"""What the agent makes of a wiper that misbehaves: always an answer or one kind of trouble, never a hang."""

import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import privileged
from agent.privileged import Wiper
from shared.codes import Code, Trouble
from shared.documents import GrantWork, Order, sign
from shared.messages import Refused

NOW = datetime(2026, 5, 1, tzinfo=UTC)
ORDER = Order(
    aud="hw_1",
    command_id="cmd_1",
    seq=1,
    work=GrantWork(username="tenant", ssh_keys=()),
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    requested_by="tests",
)
ENVELOPE = sign(ORDER, Ed25519PrivateKey.generate())
REFUSED = """print('{"type":"refused","command_id":"%s","code":"busy","detail":""}')"""


def saying(program: str) -> Wiper:
    return Wiper((sys.executable, "-c", f"import sys; sys.stdin.read()\n{program}"))


async def ask(wiper: Wiper):
    return await wiper.do(ORDER, ENVELOPE, lambda *_: None)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(privileged, "PAUSE_S", 0.0)


@pytest.mark.parametrize(
    "program",
    [
        "",
        "sys.exit(70)",
        "print('nonsense')",
        "print('x' * 500_000)",
        "sys.stdout.buffer.write(bytes(range(256)))",
        REFUSED % "cmd_2",
    ],
    ids=["nothing", "crash", "nonsense", "too long", "bytes", "another's answer"],
)
async def test_a_wiper_without_an_answer_is_unavailable(program):
    """Whatever it says instead."""
    with pytest.raises(Trouble) as caught:
        await ask(saying(program))
    assert caught.value.code is Code.WIPER_UNAVAILABLE


async def test_a_wiper_that_is_not_there_is_unavailable():
    """With its name in the words."""
    with pytest.raises(Trouble, match="/nowhere/wiper") as caught:
        await ask(Wiper(("/nowhere/wiper",)))
    assert caught.value.code is Code.WIPER_UNAVAILABLE


async def test_a_wiper_that_was_cut_off_is_asked_again(tmp_path):
    """The second time it answers."""
    again = f"from pathlib import Path\nmark = Path({str(tmp_path / 'mark')!r})\n"
    program = f"{again}if not mark.exists():\n    mark.touch()\n    sys.exit(137)\n{REFUSED % 'cmd_1'}"
    assert await ask(saying(program)) == Refused(command_id="cmd_1", code="busy", detail="")
