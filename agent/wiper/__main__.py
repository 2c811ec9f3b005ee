"""`python -m agent.wiper`: one request on stdin, its answer on stdout. The only place where real things are made."""

import argparse
import os
import platform
import select
import signal
import stat
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import structlog

from agent import identity, keys
from agent.wiper import policy
from agent.wiper.desk import Desk
from agent.wiper.evidence import Machine
from agent.wiper.preview import Preview, Unplanned
from agent.wiper.system.ground import Ground, real_machine, simulated_machine
from agent.wiper.system.kernel import hide_memory, require_openat2
from agent.wiper.system.mountinfo import require_whole_view
from shared import logs
from shared.codec import decode
from shared.codes import Code, Trouble
from shared.command_line import Exit
from shared.messages import MAX_MESSAGE_BYTES, RESUME, Command
from shared.records import WipeMethod

log = structlog.get_logger()


PATIENCE_S = 30.0
"""How long somebody who does not read may hold up the work, in all."""


class Voice:
    """
    Writes messages to stdout. Whoever asked may be gone or hang: the work goes on, and the journal has the answer.

    Args:
        descriptor: Where to; made non-blocking if it is a pipe or socket.
        patience_s: How long to wait for a reader, once; afterwards nothing more is said.
    """

    def __init__(self, descriptor: int, patience_s: float = PATIENCE_S) -> None:
        self._descriptor = descriptor
        self._patience_s = patience_s
        self._heard = True
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            os.set_blocking(descriptor, False)

    def say(self, message: bytes) -> None:
        """Write one message as one line."""
        if not self._heard:
            return
        view = memoryview(message + b"\n")
        try:
            while view:
                view = view[self._write(view) :]
        except OSError as error:
            self._heard = False
            log.info("wiper.unheard", error=error.strerror or str(error))

    def _write(self, view: memoryview) -> int:
        try:
            return os.write(self._descriptor, view)
        except BlockingIOError:
            _, ready, _ = select.select((), (self._descriptor,), (), self._patience_s)
            if not ready:
                raise TimeoutError("nobody reads") from None
            return 0


def main() -> None:
    """Serve one request and exit: 0 when it was answered, 70 when something unforeseen happened."""
    arguments = _arguments()
    logs.configure(json=True)
    os.umask(0o077)
    try:
        if arguments.plan is not None:
            _show_plan(arguments)
            return
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _serve(arguments)
    except Trouble as trouble:
        log.error("wiper.failed", code=trouble.code, detail=trouble.detail, remedy=trouble.remedy)
        sys.exit(Exit.INTERNAL)
    except Exception:
        log.exception("wiper.crashed")
        sys.exit(Exit.INTERNAL)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="agent.wiper",
        description="Carry out one signed order, read from stdin; told the word resume, finish what was cut off.",
    )
    parser.add_argument("--state", type=Path, required=True, help="the wiper's own directory")
    parser.add_argument("--policy", type=Path, help="the provider's policy (TOML)")
    parser.add_argument("--sandbox", type=Path, help="work on a simulated machine in this directory; needs no root")
    parser.add_argument(
        "--plan", metavar="USER", help="carry nothing out: print what a wipe of this account would take"
    )
    parser.add_argument(
        "--method", type=WipeMethod, default=WipeMethod.USER_DELETION, help="of the wipe that is planned"
    )
    return parser.parse_args()


def _show_plan(arguments: argparse.Namespace) -> None:
    """Print the dry run, a JSON object a line; trouble too is a line of it, the last one."""
    # Whoever reads may have seen enough: then there is nothing to finish.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    out = sys.stdout.buffer
    try:
        if arguments.sandbox and not arguments.sandbox.is_dir():
            # An order would make it; a plan makes nothing.
            raise Trouble(Code.BAD_CONFIGURATION, f"{arguments.sandbox} is no simulated machine: it is not there")
        ground, state = _ground(arguments), arguments.state.absolute()
        _check_state(state)
        rules = policy.load(arguments.policy)
        preview = Preview(state / "journal.db", ground, rules, lambda: datetime.now(UTC))
        for line in preview.lines(arguments.plan, arguments.method):
            out.write(msgspec.json.encode(line) + b"\n")
    except Trouble as trouble:
        out.write(
            msgspec.json.encode(Unplanned(code=trouble.code, detail=trouble.detail, remedy=trouble.remedy)) + b"\n"
        )
    out.flush()


def _ground(arguments: argparse.Namespace) -> Ground:
    require_openat2()
    hide_memory()
    if not arguments.sandbox:
        require_whole_view()
    return simulated_machine(arguments.sandbox.absolute()) if arguments.sandbox else real_machine()


def _serve(arguments: argparse.Namespace) -> None:
    ground = _ground(arguments)
    state = arguments.state.absolute()
    _check_state(state)
    pinned = identity.load(state / "pinned.json")
    key = keys.load(state / "wiper.key")
    rules = policy.load(arguments.policy)
    request = _request()
    # Nothing that runs later finds a directory of ours as its own.
    os.chdir("/")
    desk = Desk(state, pinned, key, rules, ground, _machine(ground), lambda: datetime.now(UTC), Voice(1).say)
    if request is None:
        desk.resume()
    else:
        desk.serve(request)


def _request() -> Command | None:
    """Return the command, or None where what was cut off is to go on."""
    line = sys.stdin.buffer.readline(MAX_MESSAGE_BYTES + 2).rstrip(b"\n")
    if line == RESUME:
        return None
    message = decode(line)
    if not isinstance(message, Command):
        raise Trouble(Code.UNKNOWN_MESSAGE, "the wiper takes commands only")
    return message


def _check_state(state: Path) -> None:
    """
    Pass if nobody but us could have written what decides whom we obey and what we did.

    Raises:
        Trouble: `state_corrupt`.
    """
    for path in (state, state / "pinned.json", state / "wiper.key", state / "journal.db"):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            raise Trouble(Code.STATE_CORRUPT, f"{path} could have been written by others", "check its owner and mode")


def _machine(ground: Ground) -> Machine:
    return Machine(
        simulated=ground.simulated,
        agent_version=version("rackproof"),
        kernel=f"{platform.system()} {platform.release()}",
        os=_os_name(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(),
    )


def _os_name() -> str:
    """Source: os-release(5)."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"][:300]
    except (OSError, KeyError):
        return "unknown"


if __name__ == "__main__":
    main()
