"""
What the system starts in a tenant's name: units of its service manager, and lines of its own crontabs.

Only units that were changed after the account was made can be about him.
"""

import os
import re
import stat
from collections.abc import Iterator

from agent.wiper.system.folders import entries
from agent.wiper.system.ground import Ground
from agent.wiper.system.tools import run
from agent.wiper.tenant import names
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.tenant.inspection import accounts_of

DEADLINE_S = 20.0
LINGER = "/var/lib/systemd/linger"
"""Files by the names of users whose service managers run without a log-in. Source: loginctl(1), enable-linger."""
TABLES = ("/etc/crontab", "/etc/anacrontab")
TABLE_DIRECTORY = "/etc/cron.d"
UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/transient")
"""Where an administrator's units are. Source: systemd.unit(5), UNIT FILE LOAD PATH."""


KINDS = (".service", ".socket", ".mount", ".swap", ".path", ".timer")
"""Units that start something. Source: systemd.unit(5)."""


class Starters:
    """
    Units and lines about one tenant.

    Args:
        ground: The machine.
        tenant: Whose.
    """

    def __init__(self, ground: Ground, tenant: Tenant) -> None:
        self._ground = ground
        self._tenant = tenant
        self._since = tenant.granted_at.timestamp()
        homes = {one.home.rstrip("/") for one in accounts_of(ground) if one.name != tenant.name}
        self._other_homes = homes - {"", tenant.home}
        user, uid = re.escape(tenant.name), tenant.uid
        self._runs_as = re.compile(
            rf"^\s*(User|Group|SupplementaryGroups)\s*=(.*[\s\"])?({user}|{uid})\"?(\s.*)?$", re.MULTILINE
        )
        self._own_settings = re.compile(rf"(user-{uid}\.slice|user(-runtime-dir)?@{uid}\.service)(\.d)?")

    def units(self) -> Iterator[tuple[str, str]]:
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

    def settings(self) -> Iterator[tuple[str, str]]:
        """Give the directories of settings of his slice and his service manager."""
        for folder in UNITS:
            for name, facts in entries(self._ground, folder):
                if stat.S_ISDIR(facts.st_mode) and self._own_settings.fullmatch(name):
                    yield folder, name

    def starting(self) -> Iterator[tuple[str, str]]:
        """Give those of the units that start something by themselves: not what is about his own service manager."""
        for folder, name in self.units():
            if not self._own_settings.fullmatch(folder.rpartition("/")[2]) and not self._own_settings.fullmatch(name):
                yield folder, name

    def runs_from_home(self, line: str) -> bool:
        """Return whether a command line runs something out of his home."""
        return names.runs_from(line, self._tenant.home, self._other_homes)

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
        return any(map(self.runs_from_home, text.splitlines()))


def own_units(uid: int) -> tuple[str, ...]:
    """Return the units of a user's own service manager and sessions. Source: the manual, user@.service in section 5."""
    return f"user@{uid}.service", f"user-{uid}.slice", f"user-runtime-dir@{uid}.service"


def stop(units: tuple[str, ...], notes: list[str]) -> None:
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


def tables(ground: Ground) -> Iterator[str]:
    """Give the system's own crontabs, links left out."""
    yield from TABLES
    for name, facts in entries(ground, TABLE_DIRECTORY):
        if stat.S_ISREG(facts.st_mode):
            yield f"{TABLE_DIRECTORY}/{name}"
