"""Going on with what was cut off, without the order being asked for again."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.wiper.desk import UNFINISHED
from shared.codec import decode
from shared.documents import Target
from shared.messages import RESUME, Message, Progress, Refused, Result
from shared.records import WipeStatus
from tests.agent.wiper.harness import SOURCE, Platform, Wiper
from tests.agent.wiper.test_simulated_machine import KEY, cut_off, fill


@pytest.fixture
def begun(wiper: Wiper, platform: Platform, tree: Path) -> tuple[Wiper, bytes, Target]:
    """A wiper that was killed while it emptied a home."""
    target = wiper.grant(platform.grant("alice", KEY))
    fill(tree / "home/alice", 6000)
    command = platform.wipe(target)
    assert b'"result"' not in cut_off(wiper, command, 0.0, b'"home"')
    return wiper, command, target


def resume(wiper: Wiper) -> list[Message]:
    done = subprocess.run(
        wiper.argv(), input=RESUME + b"\n", capture_output=True, env={"PYTHONPATH": str(SOURCE)}, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [decode(line) for line in done.stdout.splitlines()]


def counted(messages: list[Message]) -> list[tuple[int, int]]:
    return [(one.done, one.of) for one in messages if isinstance(one, Progress) and one.command_id == "resume"]


def test_a_wipe_that_was_cut_off_is_finished_unasked(begun, tree: Path) -> None:
    """Whoever asks later gets the answer that was made then."""
    wiper, command, _ = begun
    assert (wiper.state / UNFINISHED).exists()
    messages = resume(wiper)
    assert counted(messages) == [(0, 1), (1, 1)]
    assert isinstance(messages[-2], Result)
    assert list((tree / "home").iterdir()) == []
    assert not (wiper.state / UNFINISHED).exists()
    assert wiper.ask(command) == messages[-2]
    assert wiper.wipe(command).methods[0].status is WipeStatus.SUCCESS


def test_where_nothing_was_cut_off_nothing_is_done(wiper: Wiper, platform: Platform) -> None:
    """And no mark is left, so that the next boot does not even ask."""
    assert counted(resume(wiper)) == [(0, 0)]
    wiper.grant(platform.grant("alice", KEY))
    assert counted(resume(wiper)) == [(0, 0)]
    assert not (wiper.state / UNFINISHED).exists()


def test_an_order_that_may_not_go_on_is_answered_too(begun, tree: Path) -> None:
    """Somebody gave the account to another meanwhile: it ends in failed evidence, not in a mark for ever."""
    wiper, command, target = begun
    row = f"bob:x:{target.uid}:{target.uid}::/home/bob:/bin/sh\n"
    with (tree / "etc/passwd").open("a") as file:
        file.write(row)
    assert isinstance(resume(wiper)[-2], Result | Refused)
    assert wiper.wipe(command).methods[0].status is WipeStatus.FAILED
    assert not (wiper.state / UNFINISHED).exists()


def test_the_command_line_tells_what_was_finished(begun, tmp_path: Path) -> None:
    """And the second time that there was nothing to do."""
    wiper, command, _ = begun
    argv = [sys.executable, "-m", "agent", "resume", "--wiper-dir", str(wiper.state)]
    argv += ["--sandbox-dir", wiper.arguments[1], "--state-dir", str(tmp_path / "agent")]
    first, second = (subprocess.run(argv, cwd=SOURCE, capture_output=True, text=True, check=False) for _ in range(2))
    assert (first.returncode, first.stdout) == (
        0,
        f"{command.command_id}  finished; the collector gets the signed outcome\n",
    )
    assert (second.returncode, second.stdout) == (0, "nothing was cut off\n")


def test_a_wiper_that_ends_too_early_is_told(tmp_path: Path) -> None:
    """A journal that cannot be believed is no "nothing to do"."""
    argv = [
        sys.executable,
        "-m",
        "agent",
        "resume",
        "--wiper-dir",
        str(tmp_path / "none"),
        "--state-dir",
        str(tmp_path),
    ]
    argv += ["--sandbox-dir", str(tmp_path / "machine")]
    done = subprocess.run(argv, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "wiper_unavailable" in done.stderr
