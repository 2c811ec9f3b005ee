"""
What keeps or starts processes of the tenant's while his data is kept: sessions, his service manager, lingering, units.

Sessions and units are stopped, and lingering ends; his crontabs, at jobs and unit files are data, and stay. cron, at
and his service manager ask for the account's expiry before they start anything for him, and `login` has set that.
A unit of the system's that runs as him asks nobody, so that it is a way in as long as its file stands.

Source: cron(8) and atd(8) as Debian builds them, through pam_unix(8), "account"; systemd.exec(5), PAMName=.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, in_lines, printable
from agent.wiper.system.folders import entries, take
from agent.wiper.system.lines import numbers
from agent.wiper.system.tools import systemd_runs
from agent.wiper.tenant.starters import KINDS, LINGER, Starters, own_units, stop, tables

KEPT = "his data is kept"


class Sessions:
    """What runs, or would run again, in the tenant's name."""

    name = "sessions"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._starters = Starters(subject.ground, subject.tenant)

    def find(self) -> Found:
        """Count what lingers, and what the system would start."""
        return Found(sum(1 for _ in self.list()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Stop his sessions, his service manager and the units that run as him; take the mark of lingering away."""
        if self._ground.simulated:
            return Erased(0)
        removed, notes = 0, list[str]()
        if systemd_runs():
            units = (name for _, name in self._starters.starting() if name.endswith(KINDS))
            stop((*own_units(self._tenant.uid), *units), notes)
        for name in self._lingering():
            try:
                take(self._ground, LINGER, name, self._tenant.owns)
                removed += 1
            except OSError as error:
                notes.append(f"he still lingers: {error.strerror}")
        return Erased(removed, tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count them again."""
        if self._ground.simulated:
            return Looked("not_applicable", reason="a simulated machine has no sessions")
        return clean_or(sum(1 for _ in self.list()), "things would start something of the tenant's again")

    def _lingering(self) -> Iterator[str]:
        return (name for name, _ in entries(self._ground, LINGER) if name == self._tenant.name)

    def _keep(self, line: str) -> str | None:
        return None if self._starters.runs_from_home(line) else line

    def list(self) -> Iterator[Item]:
        """Give them; only the mark of lingering goes."""
        if self._ground.simulated:
            return
        yield from (Item("mark of lingering", printable(f"{LINGER}/{name}")) for name in self._lingering())
        for folder, name in self._starters.starting():
            yield Item("unit or drop-in about him", printable(f"{folder}/{name}"), goes=False, why=KEPT)
        for path in tables(self._ground):
            for one in in_lines("line that runs his", path, numbers(self._ground.read(path), self._keep)):
                yield replace(one, goes=False, why=KEPT)
