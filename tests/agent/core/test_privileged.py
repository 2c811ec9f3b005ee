"""What the agent makes of a wiper that misbehaves, child or service: an answer or one kind of trouble, never a hang."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
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


Make = Callable[[str], Wiper]


def serve(listening: socket.socket, argv: tuple[str, ...]) -> None:
    """Stand for systemd's socket: start the program for each connection, with the connection as its stdin and stdout."""
    with contextlib.suppress(OSError):  # nobody listens any more
        while True:
            line, _ = listening.accept()
            with line:
                subprocess.run(argv, stdin=line, stdout=line, check=False)


@pytest.fixture(params=["child", "service"])
def saying(request, tmp_path) -> Iterator[Make]:
    """Make a wiper that hears all it is told and then runs a program; both ways to reach one."""
    path, threads = str(tmp_path / "wiper.sock"), []

    def make(program: str) -> Wiper:
        argv = (sys.executable, "-c", f"import sys; told = sys.stdin.read()\n{program}")
        if request.param == "child":
            return Wiper(argv)
        threads.append(threading.Thread(target=serve, args=(listening, argv)))
        threads[0].start()
        return Wiper(("/nowhere/wiper",), path)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        yield make
        listening.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


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
async def test_a_wiper_without_an_answer_is_unavailable(program, saying):
    """Whatever it says instead."""
    with pytest.raises(Trouble) as caught:
        await ask(saying(program))
    assert caught.value.code is Code.WIPER_UNAVAILABLE


@pytest.mark.parametrize("wiper", [Wiper(("/nowhere/wiper",)), Wiper((), "/nowhere/wiper")], ids=["child", "service"])
async def test_a_wiper_that_is_not_there_is_unavailable(wiper):
    """With its name in the words."""
    with pytest.raises(Trouble, match="/nowhere/wiper") as caught:
        await ask(wiper)
    assert caught.value.code is Code.WIPER_UNAVAILABLE


async def test_a_socket_that_nobody_listens_on_is_unavailable(tmp_path):
    """What is left of a service that was stopped."""
    path = str(tmp_path / "wiper.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with pytest.raises(Trouble, match=r"wiper\.sock") as caught:
        await ask(Wiper((), path))
    assert caught.value.code is Code.WIPER_UNAVAILABLE


async def test_a_service_that_hangs_up_unheard_is_unavailable(tmp_path):
    """As systemd does with connections above its limit: the order was not even read."""

    async def hang_up(_heard: asyncio.StreamReader, told: asyncio.StreamWriter) -> None:
        told.transport.abort()

    path = str(tmp_path / "wiper.sock")
    async with await asyncio.start_unix_server(hang_up, path):
        with pytest.raises(Trouble) as caught:
            await ask(Wiper((), path))
    assert caught.value.code is Code.WIPER_UNAVAILABLE


async def test_a_wiper_that_was_cut_off_is_asked_again(tmp_path, saying):
    """The second time it answers."""
    again = f"from pathlib import Path\nmark = Path({str(tmp_path / 'mark')!r})\n"
    program = f"{again}if not mark.exists():\n    mark.touch()\n    sys.exit(137)\n{REFUSED % 'cmd_1'}"
    assert await ask(saying(program)) == Refused(command_id="cmd_1", code="busy", detail="")


async def test_what_a_wiper_says_before_its_answer_is_passed_on(saying):
    """Steps are reported, and what is no message is left out."""
    step = """print('{"type":"progress","command_id":"cmd_1","step":"home","done":1,"of":2}')"""
    told = []
    wiper = saying(f"{step}\nprint('nonsense')\n{step}\n{REFUSED % 'cmd_1'}")
    await wiper.do(ORDER, ENVELOPE, lambda *words: told.append(words))
    assert told == [("home", 1, 2)] * 2


async def test_an_answer_is_enough_though_the_line_stays_open(saying):
    """A child of the wiper's that hangs in the kernel keeps it open for as long as the machine runs."""
    hanging = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])"
    wiper = saying(f"{hanging}\n{REFUSED % 'cmd_1'}")
    async with asyncio.timeout(10):
        assert (await ask(wiper)).command_id == "cmd_1"


async def test_a_wiper_gets_one_line_and_the_end(saying):
    """A wiper that waits for the end goes on, and the line is the order as it was signed."""
    program = f"assert told.endswith('\\n') and told.count('\\n') == 1\nprint(told, end='')\n{REFUSED % 'cmd_1'}"
    with structlog.testing.capture_logs() as logs:
        await ask(saying(program))
    assert logs == []
