"""
Privileges: rules by the tenant's name, and what the system remembers of him by name.

Rules in tables are changed line by line; a rule file that only names him goes whole. A file of another kind that names
him (a program for polkit, a block of sshd's configuration) is removed if it came after him, and else reported.
"""

import stat
from collections.abc import Iterator
from typing import NamedTuple

from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, in_lines, printable
from agent.wiper.system.folders import entries, take
from agent.wiper.system.lines import Keep, changed, numbers, rewrite
from agent.wiper.system.tools import is_there, run, systemd_runs
from agent.wiper.tenant import names
from agent.wiper.tenant.names import Rule

DEADLINE_S = 30.0

TABLES: tuple[tuple[str, Rule], ...] = (
    ("/etc/sudoers", names.sudo),
    ("/etc/doas.conf", names.doas),
    ("/etc/security/limits.conf", names.first_field),
    ("/etc/security/access.conf", names.access),
    ("/etc/security/opasswd", names.first_field),
    ("/etc/cron.allow", names.first_field),
    ("/etc/at.allow", names.first_field),
)
DIRECTORIES: tuple[tuple[str, Rule], ...] = (
    ("/etc/sudoers.d", names.sudo),
    ("/etc/security/limits.d", names.first_field),
    ("/etc/security/access.d", names.access),
    ("/etc/tmpfiles.d", names.tmpfiles),
)
"""Tables, and directories of tables: which rule drops the tenant's lines."""

PROGRAMS = (
    "/etc/polkit-1/rules.d",
    "/etc/polkit-1/localauthority.conf.d",
    "/etc/polkit-1/localauthority/50-local.d",
    "/etc/ssh/sshd_config.d",
    "/etc/systemd/logind.conf.d",
    "/etc/tmpfiles.d",
    "/etc/sysusers.d",
)
"""Directories of files that name users in words of their own."""

REMEMBERED = (
    "/run/sudo/ts",
    "/var/lib/sudo/ts",
    "/var/lib/sudo/lectured",
    "/var/lib/sudo",
    "/run/faillock",
    "/var/lib/faillock",
    "/var/lib/AccountsService/users",
    "/var/lib/AccountsService/icons",
    "/var/mail",
    "/var/spool/mail",
    "/etc/doas.d",
)
"""
Directories with a file for each user, by name. Source: sudoers(5), timestampdir; pam_faillock(8), dir.

A mailbox has its lock beside it. Source: lockfile_create(3), the ".lock" extension.
"""


class Table(NamedTuple):
    """A file with a rule for its lines. `whole`: whether it goes when no statement is left in it."""

    path: str
    keep: Keep
    whole: bool


class Privileges:
    """What the tenant was allowed, by name."""

    name = "privileges"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._since = subject.tenant.granted_at.timestamp()

    def find(self) -> Found:
        """Count rules and memories of him."""
        return Found(0 if self._ground.simulated else self._count())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Drop the rules, remove the memories, and let sshd read its configuration again if that changed."""
        if self._ground.simulated:
            return Erased(0)
        before, notes = self._count(), list[str]()
        for table in self._tables():
            try:
                rewrite(self._ground, table.path, table.keep, drop_empty=table.whole)
            except OSError as error:
                notes.append(f"a table stays as it is: {error.strerror}")
        for folder, name, fresh in (*self._remembered(), *self._programs()):
            if not fresh:
                continue
            try:
                take(self._ground, folder, name, self._tenant.owns)
            except OSError as error:
                notes.append(f"a file about the tenant stays: {error.strerror}")
            if "ssh" in folder and systemd_runs():
                run("systemctl", "reload", "--no-block", "ssh.service", deadline_s=DEADLINE_S)
        if is_there("visudo") and run("visudo", "-c", "-q", deadline_s=DEADLINE_S).code:
            notes.append("visudo finds fault with the rules of sudo")
        return Erased(before - self._count(), tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count them again."""
        if self._ground.simulated:
            return Looked("not_applicable", reason="a simulated machine grants no privileges")
        return clean_or(self._count(), "rules or memories of the tenant")

    def _count(self) -> int:
        return sum(1 for _ in self.list())

    def _lines(self, table: Table) -> int:
        return changed(self._ground.read(table.path), table.keep)[1]

    def _tables(self) -> Iterator[Table]:
        for path, rule in TABLES:
            yield Table(path, self._keep(rule), whole=False)
        for folder, rule in DIRECTORIES:
            for name, facts in entries(self._ground, folder):
                if stat.S_ISREG(facts.st_mode):
                    yield Table(f"{folder}/{name}", self._keep(rule), whole=True)

    def _keep(self, rule: Rule) -> Keep:
        # The same rules take a user by number: "#1001" in sudoers, the bare number elsewhere; "@name" is his group.
        words = (self._tenant.name, f"#{self._tenant.uid}", str(self._tenant.uid), f"@{self._tenant.name}")

        def keep(line: str) -> str | None:
            left: str | None = line
            for word in words:
                left = left if left is None else rule(left, word)
            return left

        return keep

    def _remembered(self) -> Iterator[tuple[str, str, bool]]:
        his = {self._tenant.name, str(self._tenant.uid), f"{self._tenant.name}.lock"}
        for folder in REMEMBERED:
            for name, facts in entries(self._ground, folder):
                if name in his and not stat.S_ISDIR(facts.st_mode):
                    yield folder, name, True

    def _programs(self) -> Iterator[tuple[str, str, bool]]:
        """Give directory, name, and whether the file came or changed after the tenant did."""
        for folder in PROGRAMS:
            for name, facts in entries(self._ground, folder):
                plain = stat.S_ISREG(facts.st_mode)
                if plain and names.mentions(self._ground.read(f"{folder}/{name}"), self._tenant.name):
                    yield folder, name, facts.st_ctime >= self._since

    def list(self) -> Iterator[Item]:
        """Give the rules, and the files about him."""
        if self._ground.simulated:
            return
        for table in self._tables():
            yield from in_lines("rule for him", table.path, numbers(self._ground.read(table.path), table.keep))
        for folder, name, fresh in (*self._remembered(), *self._programs()):
            path = printable(f"{folder}/{name}")
            why = None if fresh else "it has not changed since before he came"
            yield Item("file about him", path, goes=fresh, why=why)
