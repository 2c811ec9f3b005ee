"""
Directory services: whether the account lives on elsewhere than in this machine's own files. It is never deleted there.

Each service that names are asked of is asked alone, for the name and for the number.
Source: nsswitch.conf(5); getent(1), -s and EXIT STATUS.
"""

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.wiper.steps import (
    CLEAN,
    NOT_APPLICABLE,
    NOT_EXAMINED,
    RESIDUE,
    Erased,
    Found,
    Item,
    Looked,
    Subject,
    Tell,
)
from agent.wiper.system.ground import Ground
from agent.wiper.system.tools import run

DEADLINE_S = 10.0
NSSWITCH = "/etc/nsswitch.conf"
DATABASES = frozenset({"passwd", "group", "initgroups"})
FOUND, NOT_FOUND = 0, 2
OWN = "files"
AT_HAND = frozenset({"systemd", "compat", "db", "altfiles", "extrausers", "usrfiles", "mymachines"})
"""Services that read this machine's own files: a no of theirs is one, whoever else runs."""
DAEMONS = {
    "sss": ("/var/lib/sss/pipes/nss",),
    "ldap": ("/run/nslcd/socket",),
    "winbind": ("/run/samba/winbindd/pipe", "/run/winbindd/pipe"),
}
"""Where the daemon behind a service listens: without it the service says no to all. Source: each one's manual."""
LISTENING = 0x10000
"""Source: Linux, include/uapi/linux/net.h, __SO_ACCEPTCON, as /proc/net/unix writes it."""

_ROW = re.compile(rb"[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]{8}) [0-9A-F]+ [0-9A-F]+ +[0-9]+ (.+)")
"""Anybody may give a socket a name with line breaks in it; what follows one of those is mostly no row."""

Ask = Callable[[str, str], int]
"""Asks a service for a key; getent's exit status."""


class Directory:
    """
    The account in directory services.

    Args:
        subject: Whose.
        ask: How a service is asked.
    """

    name = "directory"

    def __init__(self, subject: Subject, ask: Ask | None = None) -> None:
        self._ground = subject.ground
        self._keys = (subject.tenant.name, str(subject.tenant.uid))
        self._ask = ask or _getent

    def list(self) -> Iterator[Item]:
        """Name the services that know the account; it stays there."""
        for service, answer in self._answers().items():
            if answer == RESIDUE:
                yield Item("account in a directory", service, goes=False, why="a wipe deletes it on this machine only")

    def find(self) -> Found:
        """Count the services that know the account."""
        return Found(len(of_state(self._answers(), RESIDUE)))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Leave everything."""
        return Erased(0)

    def verify(self) -> Looked:
        """Ask again."""
        return judged(self._answers())

    def _answers(self) -> dict[str, str]:
        if self._ground.simulated:
            return {}
        listening = listeners(Path("/proc/1/net/unix").read_bytes())
        return {service: self._answer(service, listening) for service in services(self._ground, listening)}

    def _answer(self, service: str, listening: frozenset[str]) -> str:
        """Return the state of one service: residue where it knows the account."""
        try:
            codes = {self._ask(service, key) for key in self._keys}
        except OSError:
            return NOT_EXAMINED
        if FOUND in codes:
            return RESIDUE
        if codes != {NOT_FOUND}:
            return NOT_EXAMINED
        if service in AT_HAND:
            return NOT_APPLICABLE
        return CLEAN if listening.intersection(DAEMONS.get(service, ())) else NOT_EXAMINED


def services(ground: Ground, listening: frozenset[str]) -> tuple[str, ...]:
    """
    Return the services besides the account files that accounts may come from.

    Raises:
        OSError: the configuration cannot be read.
    """
    running = (service for service, sockets in DAEMONS.items() if listening.intersection(sockets))
    return tuple(dict.fromkeys((*parse(ground.read(NSSWITCH)), *running)))


def parse(text: str) -> tuple[str, ...]:
    """Return the services that nsswitch.conf names for accounts and groups, but for the account files. Pure."""
    found: list[str] = []
    for line in text.splitlines():
        database, _, rest = line.partition("#")[0].partition(":")
        if database.strip() in DATABASES:
            plain = " ".join(part.partition("]")[2] if at else part for at, part in enumerate(rest.split("[")))
            found += [word for word in plain.split() if word != OWN]
    return tuple(dict.fromkeys(found))


def listeners(raw: bytes) -> frozenset[str]:
    """Return the paths of the sockets on which somebody listens. Source: proc(5), /proc/net/unix."""
    rows = map(_ROW.fullmatch, raw.split(b"\n")[1:])
    paths = (row[2].decode("utf-8", "surrogateescape") for row in rows if row and int(row[1], 16) & LISTENING)
    return frozenset(
        "/run/" + path.removeprefix("/var/run/") if path.startswith("/var/run/") else path for path in paths
    )


def judged(answers: dict[str, str]) -> Looked:
    """Return what the services' answers amount to. Pure."""
    knowing, silent = of_state(answers, RESIDUE), of_state(answers, NOT_EXAMINED)
    words = [f"{one} knows an account of this name or number" for one in knowing]
    words += [f"{one} does not answer" for one in silent]
    if knowing:
        return Looked(RESIDUE, len(knowing), "; ".join(words)[:300])
    if silent:
        return Looked(NOT_EXAMINED, reason="; ".join(words)[:300])
    if CLEAN in answers.values():
        return Looked(CLEAN)
    return Looked(NOT_APPLICABLE, reason="accounts come from this machine's own files only")


def of_state(answers: dict[str, str], state: str) -> tuple[str, ...]:
    """Return the services with this state."""
    return tuple(service for service, answer in answers.items() if answer == state)


def _getent(service: str, key: str) -> int:
    if service.startswith("-"):
        raise OSError(errno.EINVAL, "no name of a service")
    return run("getent", "-s", service, "--", "passwd", key, deadline_s=DEADLINE_S).code
