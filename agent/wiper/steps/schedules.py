"""
Schedules: what would start something of the tenant's again after everything was killed.

Crontabs, at jobs, lingering, system crontabs and systemd units (with drop-ins) that run as him or run something out of
his home, and settings of his own slice. Only units that were changed after the account was made are touched.
"""

import stat
from collections.abc import Iterator
from contextlib import suppress

from agent.wiper.steps import NOT_EXAMINED, Erased, Found, Item, Looked, Subject, Tell, clean_or, in_lines, printable
from agent.wiper.system.folders import entries, take
from agent.wiper.system.lines import numbers, rewrite
from agent.wiper.system.tools import run, systemd_runs
from agent.wiper.tenant import names
from agent.wiper.tenant.starters import DEADLINE_S, KINDS, LINGER, TABLE_DIRECTORY, Starters, own_units, stop, tables

CRONTABS = ("/var/spool/cron/crontabs", "/var/spool/cron")
"""Where cron keeps users' tables, by name. Source: crontab(1) of Debian and of cronie."""
AT_JOBS = ("/var/spool/cron/atjobs", "/var/spool/cron/atspool", "/var/spool/at", "/var/spool/at/spool")
"""Where at keeps jobs, by owner. Source: at(1), FILES, of Debian and of Fedora."""


class Schedules:
    """Everything that starts by itself in the tenant's name."""

    name = "schedules"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._starters = Starters(subject.ground, subject.tenant)

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Take them away, the user's own service manager included."""
        if self._ground.simulated:
            return Erased(0)
        before, notes = self._count(), list[str]()
        units = [name for _, name in self._starters.units() if name.endswith(KINDS)]
        if systemd_runs():
            stop((*own_units(self._tenant.uid), *units), notes)
        for folder, name in (*self._files(), *self._starters.units()):
            try:
                take(self._ground, folder, name, self._tenant.owns)
            except OSError as error:
                notes.append(f"a schedule stays: {error.strerror}")
        for folder, name in self._starters.settings():
            # Where something else is in one, it stays.
            with suppress(OSError):
                take(self._ground, folder, name, self._tenant.owns, directory=True)
        for path in tables(self._ground):
            try:
                rewrite(self._ground, path, self._keep, drop_empty=path.startswith(TABLE_DIRECTORY + "/"))
            except OSError as error:
                notes.append(f"a table stays as it is: {error.strerror}")
        if systemd_runs() and units:
            run("systemctl", "daemon-reload", deadline_s=DEADLINE_S)
        return Erased(before - self._count(), tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count them again."""
        if self._ground.simulated:
            return Looked("not_applicable", reason="a simulated machine has no schedules")
        left = self._count()
        links = sum(stat.S_ISLNK(facts.st_mode) for _, facts in entries(self._ground, TABLE_DIRECTORY))
        if links and not left:
            return Looked(NOT_EXAMINED, reason=f"{links} links in {TABLE_DIRECTORY} were not followed")
        return clean_or(left, "schedules")

    def _count(self) -> int:
        return sum(1 for _ in self.list())

    def _keep(self, line: str) -> str | None:
        return None if self._starters.runs_from_home(line) else names.cron_d(line, self._tenant.name)

    def _files(self) -> Iterator[tuple[str, str]]:
        """Give directory and name of what is the tenant's by its name or its owner."""
        for folder in (*CRONTABS, LINGER):
            for name, _ in entries(self._ground, folder):
                if name == self._tenant.name:
                    yield folder, name
        for folder in AT_JOBS:
            for name, facts in entries(self._ground, folder):
                if self._tenant.owns(facts.st_uid):
                    yield folder, name

    def list(self) -> Iterator[Item]:
        """Give them."""
        if self._ground.simulated:
            return
        yield from (Item("schedule of his", printable(f"{folder}/{name}")) for folder, name in self._files())
        yield from (
            Item("unit or drop-in about him", printable(f"{folder}/{name}")) for folder, name in self._starters.units()
        )
        for path in tables(self._ground):
            found = numbers(self._ground.read(path), self._keep)
            yield from in_lines("line that runs something of his", path, found)
