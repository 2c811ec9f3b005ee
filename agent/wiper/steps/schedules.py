"""
Schedules: what would start something of the tenant's again after everything was killed.

Crontabs, at jobs, lingering, system crontabs and systemd units (with drop-ins) that run as him or run something out of
his home, and settings of his own slice. Only units that were changed after the account was made are touched.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from agent.wiper import names
from agent.wiper.folders import entries, take
from agent.wiper.inspection import accounts_of
from agent.wiper.lines import numbers, rewrite
from agent.wiper.steps import NOT_EXAMINED, Erased, Found, Item, Looked, Subject, Tell, clean_or, in_lines, printable
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


KINDS = (".service", ".socket", ".mount", ".swap", ".path", ".timer")
"""Units that start something. Source: systemd.unit(5)."""


class Schedules:
    """Everything that starts by itself in the tenant's name."""

    name = "schedules"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._since = subject.tenant.granted_at.timestamp()
        homes = {one.home.rstrip("/") for one in accounts_of(self._ground) if one.name != self._tenant.name}
        self._other_homes = homes - {"", self._tenant.home}
        user, uid = re.escape(subject.tenant.name), subject.tenant.uid
        self._runs_as = re.compile(
            rf"^\s*(User|Group|SupplementaryGroups)\s*=(.*[\s\"])?({user}|{uid})\"?(\s.*)?$", re.MULTILINE
        )
        self._own_settings = re.compile(rf"(user-{uid}\.slice|user(-runtime-dir)?@{uid}\.service)(\.d)?")

    def find(self) -> Found:
        """Count them."""
        return Found(self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Take them away, the user's own service manager included."""
        if self._ground.simulated:
            return Erased(0)
        before, notes = self._count(), list[str]()
        units = [name for _, name in self._units() if name.endswith(KINDS)]
        if systemd_runs():
            uid = self._tenant.uid
            own = (f"user@{uid}.service", f"user-{uid}.slice", f"user-runtime-dir@{uid}.service")
            self._stop((*own, *units), notes)
        for folder, name in (*self._files(), *self._units()):
            try:
                take(self._ground, folder, name, self._tenant.owns)
            except OSError as error:
                notes.append(f"a schedule stays: {error.strerror}")
        self._drop_empty_folders()
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
        return sum(1 for _ in self.list())

    def _stop(self, units: tuple[str, ...], notes: list[str]) -> None:
        """
        Stop units at once and have the service manager forget them, a unit that was killed included.

        Ordered to stop first, so that nothing starts again what is killed next.
        """
        for words in (("stop", "--no-block"), ("kill", "--signal=KILL"), ("stop",), ("reset-failed",)):
            try:
                done = run("systemctl", *words, "--", *units, deadline_s=DEADLINE_S)
            except OSError as error:
                notes.append(f"units were not stopped: {error.strerror}")
                return
            if done.code and words == ("stop",) and "not loaded" not in done.words:
                notes.append(f"systemctl stop ended with {done.code}"[:120])

    def _keep(self, line: str) -> str | None:
        return None if self._runs_from_home(line) else names.cron_d(line, self._tenant.name)

    def _runs_from_home(self, line: str) -> bool:
        return names.runs_from(line, self._tenant.home, self._other_homes)

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
        """Give the units and drop-ins that are about the tenant, with the timers of the same name and links to them."""
        mine: set[str] = set()
        for folder in UNITS:
            for name, facts in entries(self._ground, folder):
                path = f"{folder}/{name}"
                if stat.S_ISDIR(facts.st_mode) and name.endswith(".d"):
                    whole = bool(self._own_settings.fullmatch(name))
                    for inner, inner_facts in entries(self._ground, path):
                        if self._is_fresh(inner_facts) and (whole or self._is_his(f"{path}/{inner}")):
                            yield path, inner
                elif self._is_fresh(facts) and (self._own_settings.fullmatch(name) or self._is_unit(path)):
                    mine.add(name.rpartition(".")[0])
                    yield folder, name
        for folder in UNITS:
            for name, facts in entries(self._ground, folder):
                stem, _, kind = name.rpartition(".")
                if stem in mine and kind in {"timer", "path"} and facts.st_ctime >= self._since:
                    yield folder, name
                elif kind in {"wants", "requires"}:
                    inside = f"{folder}/{name}"
                    yield from (
                        (inside, link) for link, _ in entries(self._ground, inside) if link.rpartition(".")[0] in mine
                    )

    def _drop_empty_folders(self) -> None:
        """Take the directories of his slice's settings away; where something else is in one, it stays."""
        for folder in UNITS:
            for name, facts in entries(self._ground, folder):
                if stat.S_ISDIR(facts.st_mode) and self._own_settings.fullmatch(name):
                    with suppress(OSError):
                        take(self._ground, folder, name, self._tenant.owns, directory=True)

    def _is_fresh(self, facts: os.stat_result) -> bool:
        return stat.S_ISREG(facts.st_mode) and facts.st_ctime >= self._since

    def _is_unit(self, path: str) -> bool:
        return path.endswith(KINDS) and self._is_his(path)

    def _is_his(self, path: str) -> bool:
        """Return whether a unit runs as him, or runs something out of his home."""
        try:
            text = self._ground.read(path)
        except OSError:  # a link, or gone: not a unit that could start
            return False
        if self._runs_as.search(text):
            return True
        return any(map(self._runs_from_home, text.splitlines()))

    def list(self) -> Iterator[Item]:
        """Give them."""
        if self._ground.simulated:
            return
        yield from (Item("schedule of his", printable(f"{folder}/{name}")) for folder, name in self._files())
        yield from (Item("unit or drop-in about him", printable(f"{folder}/{name}")) for folder, name in self._units())
        for path in self._tables():
            found = numbers(self._ground.read(path), self._keep)
            yield from in_lines("line that runs something of his", path, found)
