"""
Schedules: what would start something of the tenant's again after everything was killed.

Crontabs, at jobs, lingering, system crontabs and systemd units that run as him. Only files that were changed after the
account was made are touched.
"""

import re
import stat
from collections.abc import Iterator

from agent.wiper.folders import entries, take
from agent.wiper.lines import count, rewrite
from agent.wiper.names import cron_d
from agent.wiper.steps import NOT_EXAMINED, Erased, Found, Looked, Subject, Tell, clean_or
from agent.wiper.tools import run, systemd_runs

DEADLINE_S = 20.0
CRONTABS = ("/var/spool/cron/crontabs", "/var/spool/cron")
"""Where cron keeps users' tables, by name. Source: crontab(1) of Debian and of cronie."""
AT_JOBS = ("/var/spool/cron/atjobs", "/var/spool/cron/atspool", "/var/spool/at", "/var/spool/at/spool")
"""Where at keeps jobs, by owner. Source: at(1), FILES, of Debian and of Fedora."""
LINGER = "/var/lib/systemd/linger"
TABLES = ("/etc/crontab", "/etc/anacrontab")
TABLE_DIRECTORY = "/etc/cron.d"
UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/transient")
"""Where an administrator's units are. Source: systemd.unit(5), UNIT FILE LOAD PATH."""


class Schedules:
    """Everything that starts by itself in the tenant's name."""

    name = "schedules"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        user = re.escape(subject.tenant.name)
        self._runs_as = re.compile(rf"^\s*(User|Group)\s*=\s*\"?({user}|{subject.tenant.uid})\"?\s*$", re.MULTILINE)

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Take them away, the user's own service manager included."""
        if self._ground.simulated:
            return Erased(0)
        before, notes = self._count(), list[str]()
        units = [name for _, name in self._units()]
        if systemd_runs():
            self._stop((f"user@{self._tenant.uid}.service", f"user-{self._tenant.uid}.slice", *units), notes)
        for folder, name in (*self._files(), *self._units()):
            try:
                take(self._ground, folder, name, self._tenant.owns)
            except OSError as error:
                notes.append(f"a schedule stays: {error.strerror}")
        for path in self._tables():
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
        if self._ground.simulated:
            return 0
        tables = sum(count(self._ground, path, self._keep) for path in self._tables())
        return sum(1 for _ in self._files()) + sum(1 for _ in self._units()) + tables

    def _stop(self, units: tuple[str, ...], notes: list[str]) -> None:
        try:
            done = run("systemctl", "stop", "--no-block", "--", *units, deadline_s=DEADLINE_S)
        except OSError as error:
            notes.append(f"units were not stopped: {error.strerror}")
            return
        if done.code and "not loaded" not in done.words:
            notes.append(f"systemctl stop ended with {done.code}"[:120])

    def _keep(self, line: str) -> str | None:
        return cron_d(line, self._tenant.name)

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

    def _tables(self) -> Iterator[str]:
        yield from TABLES
        for name, facts in entries(self._ground, TABLE_DIRECTORY):
            if stat.S_ISREG(facts.st_mode):
                yield f"{TABLE_DIRECTORY}/{name}"

    def _units(self) -> Iterator[tuple[str, str]]:
        """Give the units that run as the tenant, with the timers of the same name; links to them included."""
        since = self._tenant.granted_at.timestamp()
        mine: set[str] = set()
        for folder in UNITS:
            for name, facts in entries(self._ground, folder):
                plain = stat.S_ISREG(facts.st_mode) and facts.st_ctime >= since
                if plain and name.endswith((".service", ".socket")) and self._runs_in(f"{folder}/{name}"):
                    mine.add(name.rpartition(".")[0])
                    yield folder, name
        for folder in UNITS:
            for name, facts in entries(self._ground, folder):
                stem, _, kind = name.rpartition(".")
                if stem in mine and kind in {"timer", "path"} and facts.st_ctime >= since:
                    yield folder, name
                elif kind in {"wants", "requires"}:
                    inside = f"{folder}/{name}"
                    yield from (
                        (inside, link) for link, _ in entries(self._ground, inside) if link.rpartition(".")[0] in mine
                    )

    def _runs_in(self, path: str) -> bool:
        try:
            return bool(self._runs_as.search(self._ground.read(path)))
        except OSError:  # a link, or gone: not a unit that could start
            return False
