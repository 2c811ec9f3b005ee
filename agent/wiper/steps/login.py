"""
The account's door: expired, locked and without a shell, so that no way of logging in opens while the rest is done.

A locked password alone does not stop key log-ins. Source: usermod(8), -L; sshd(8), which asks for the expiry date.
"""

import time
from collections.abc import Iterator

from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or
from agent.wiper.system.tools import run

DEADLINE_S = 30.0
NO_SHELL = "/usr/sbin/nologin"
SHELLS_OF_NOBODY = frozenset({NO_SHELL, "/sbin/nologin", "/bin/false", "/usr/bin/false"})
DAY_S = 86_400
WORDS = {"shell": "a shell", "password": "a password that is not locked", "expiry": "an account that is not expired"}
"""What is open, for people."""


class Login:
    """The tenant's rows in the password and shadow files."""

    name = "login"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._name = subject.tenant.name

    def find(self) -> Found:
        """Count the ways in that are open."""
        return Found(len(self._open()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Close them with the system's own tool, which takes the lock of the account files."""
        before = self._open()
        if not before:
            return Erased(0)
        if self._ground.simulated:
            return Erased(0, ("a simulated machine has no log-ins to close",))
        options = ("--expiredate", "1", "--lock", "--shell", NO_SHELL)
        done = run("usermod", *options, "--", self._name, deadline_s=DEADLINE_S)
        if done.code:
            return Erased(0, (f"usermod ended with {done.code}: {done.words}",))
        return Erased(len(before) - len(self._open()))

    def verify(self) -> Looked:
        """Look at both files again."""
        if self._ground.simulated:
            return Looked("not_applicable", reason="nobody can log in to a simulated machine")
        return clean_or(len(self._open()), "ways to log in to the account")

    def _open(self) -> list[str]:
        """Name what is still open; nothing is where there is no account."""
        rows = [row.split(":") for row in self._ground.read("/etc/passwd").splitlines()]
        mine = [row for row in rows if row[0] == self._name]
        if not mine:
            return []
        found = [] if mine[0][-1] in SHELLS_OF_NOBODY else ["shell"]
        if self._ground.simulated:
            return found
        shadows = [row.split(":") for row in self._ground.read("/etc/shadow").splitlines()]
        shadow = next((row for row in shadows if row[0] == self._name), None)
        if shadow is None or shadow[1][:1] not in {"!", "*"}:
            found.append("password")
        expires = shadow[7] if shadow is not None and len(shadow) > 7 else ""
        if not expires.isdigit() or int(expires) * DAY_S > time.time():
            found.append("expiry")
        return found

    def list(self) -> Iterator[Item]:
        """Give the ways in that are open."""
        if not self._ground.simulated:
            yield from (Item("way to log in", WORDS[one]) for one in self._open())
