"""
The account itself, by the system's own tool without its -r and -f: what it checks is one more guard.

Afterwards its rows in the backups of the account files, from which it could come back to life.
"""

from collections.abc import Iterator
from contextlib import nullcontext

from msgspec.structs import replace

from agent.wiper.steps import Erased, Found, Item, Looked, Subject, Tell, clean_or, in_lines
from agent.wiper.system.kernel import account_files_locked
from agent.wiper.system.lines import Keep, count, numbers, rewrite
from agent.wiper.system.tools import run
from agent.wiper.tenant import names
from agent.wiper.tenant.names import Rule

DEADLINE_S = 60.0

FILES: tuple[tuple[str, Rule], ...] = (
    ("/etc/passwd", names.first_field),
    ("/etc/shadow", names.first_field),
    ("/etc/subuid", names.first_field),
    ("/etc/subgid", names.first_field),
    ("/etc/group", names.member),
    ("/etc/gshadow", names.member),
)
"""The account files, and which rule tells the tenant's rows. Source: passwd(5), shadow(5), group(5), subuid(5)."""

COPIES = ("/etc/{}-", "/etc/{}.org", "/var/backups/{}.bak")
"""Where copies of an account file stand. Source: passwd(5), FILES; the daily job of Debian's package passwd."""


class Account:
    """The tenant's rows in the account files and in their backups."""

    name = "account"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._name = subject.tenant.name
        self._uid = str(subject.tenant.uid)

    def find(self) -> Found:
        """Count the rows."""
        return Found(self._rows())

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Have the account deleted, then clear the backups."""
        before, notes = self._rows(), list[str]()
        if not self._ground.simulated and self._has_row():
            done = run("userdel", "--", self._name, deadline_s=DEADLINE_S)
            if done.code:
                notes.append(f"userdel ended with {done.code}: {done.words}")
        if not self._has_row():
            # userdel keeps the backups, and leaves out what another program has changed meanwhile.
            with account_files_locked() if not self._ground.simulated else nullcontext():
                for path, rule in _all_files():
                    self._clear(path, rule, notes)
        return Erased(before - self._rows(), tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Count the rows again, those in the backups included."""
        return clean_or(self._rows(), "rows in the account files or their backups")

    def _has_row(self) -> bool:
        return count(self._ground, "/etc/passwd", self._keep(names.first_field)) > 0

    def _rows(self) -> int:
        return sum(1 for _ in self.list())

    def _clear(self, path: str, rule: Rule, notes: list[str]) -> None:
        try:
            rewrite(self._ground, path, self._keep(rule))
        except OSError as error:
            notes.append(f"{path} stays as it is: {error.strerror}")

    def _keep(self, rule: Rule) -> Keep:
        if rule is not names.member:
            # Subordinate ids may be given to the number; in the other files a number is nobody's name.
            return lambda line: None if rule(line, self._name) is None else rule(line, self._uid)
        primary = self._primary_groups()
        # A group that is another account's first one stays, whatever it is called.
        return lambda line: line if line.split(":")[0] in primary else rule(line, self._name)

    def _primary_groups(self) -> set[str]:
        rows = [row.split(":") for row in self._ground.read("/etc/passwd").splitlines()]
        used = {row[3] for row in rows if len(row) == 7 and row[0] != self._name}
        groups = (row.split(":") for row in self._ground.read("/etc/group").splitlines())
        return {row[0] for row in groups if len(row) == 4 and row[0] == self._name and row[2] in used}

    def list(self) -> Iterator[Item]:
        """Give the rows."""
        for path, rule in _all_files():
            found = numbers(self._ground.read(path), self._keep(rule))
            for one in in_lines("row or part of a row about the account", path, found):
                yield (
                    replace(one, goes=False, why="a simulated machine has no userdel")
                    if self._ground.simulated
                    else one
                )


def _all_files() -> Iterator[tuple[str, Rule]]:
    for path, rule in FILES:
        yield path, rule
        for copy in COPIES:
            yield copy.format(path.removeprefix("/etc/")), rule
