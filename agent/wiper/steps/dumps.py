"""
Core dumps of the tenant's processes: owned by root, with his memory in them, told by the user id in their names.

Source: systemd-coredump(8) and its storage names "core.COMMAND.UID.BOOT.PID.TIME"; apport's "PATH.UID.crash".
"""

import os
import re
import stat
from collections.abc import Iterator

from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, printable
from agent.wiper.system.folders import entries, take

COREDUMPS = "/var/lib/systemd/coredump"
CRASHES = ("/var/crash", "/var/lib/apport/coredump")


class Dumps:
    """Core dumps and crash reports of the tenant's."""

    name = "dumps"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._owns = subject.tenant.owns

    def find(self) -> Found:
        """Count them."""
        return Found(len(self._mine()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Remove them."""
        removed, notes = 0, []
        for folder, name in self._mine():
            try:
                take(self._ground, folder, name, self._owns)
                removed += 1
            except OSError as error:
                notes.append(f"a core dump stays: {error.strerror}")
        return Erased(removed, tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count them again."""
        return clean_or(len(self._mine()), "core dumps")

    def _mine(self) -> list[tuple[str, str]]:
        forms = ((COREDUMPS, _CORE), *((folder, _CRASH) for folder in CRASHES))
        return [
            (folder, name)
            for folder, form in forms
            for name, facts in entries(self._ground, folder)
            if self._is_mine(name, facts, form)
        ]

    def _is_mine(self, name: str, facts: os.stat_result, form: re.Pattern[str]) -> bool:
        """Return whether it is a dump of his; anybody may write to /var/crash, whatever the name says."""
        told = form.search(name)
        written = stat.S_ISREG(facts.st_mode) and (facts.st_uid == 0 or self._owns(facts.st_uid))
        return written and told is not None and self._owns(int(told[1]))

    def list(self) -> Iterator[Item]:
        """Give them."""
        return (Item("core dump or crash report", printable(f"{folder}/{name}")) for folder, name in self._mine())


_CORE = re.compile(r"^core\..*\.(\d+)\.[0-9a-f]{32}\.\d+\.\d+")
_CRASH = re.compile(r"[._](\d+)\.(?:crash|upload|uploaded)$")
