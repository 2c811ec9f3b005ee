"""Ways to root that the machine's own rules give a tenant: groups that make root, rules of sudo and doas."""

import stat
from collections.abc import Iterator
from functools import partial

from agent.wiper.system.folders import entries
from agent.wiper.system.ground import Ground
from agent.wiper.system.lines import changed
from agent.wiper.tenant import names
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.tenant.groups import POWERFUL, groups_of
from agent.wiper.tenant.names import Rule

SUDO = ("/etc/sudoers", "/etc/sudoers.d")
DOAS = ("/etc/doas.conf", "/etc/doas.d")


def to_root(ground: Ground, tenant: Tenant) -> tuple[str, ...]:
    """
    Return them in words; they leave a doubt for good, so they are asked for before anything takes them away.

    Raises:
        OSError: a rule cannot be read.
    """
    powerful = sorted(groups_of(ground.read("/etc/group"), tenant.name).keys() & POWERFUL)
    found = [f"the tenant was in {', '.join(powerful)}: he could become root"] if powerful else []
    if any(_names(ground.read(path), tenant, rule) for path, rule in _rules(ground)):
        found.append("the tenant could become root by a rule of sudo or doas")
    return tuple(found)


def _names(text: str, tenant: Tenant, rule: Rule) -> bool:
    # Rules take a user by number too: "#1001" in sudoers, the bare number elsewhere; "%name" is his group.
    words = (tenant.name, f"#{tenant.uid}", str(tenant.uid), f"%{tenant.name}")
    return any(changed(text, partial(_without, rule, word))[1] for word in words)


def _without(rule: Rule, word: str, line: str) -> str | None:
    return rule(line, word)


def _rules(ground: Ground) -> Iterator[tuple[str, Rule]]:
    for (file, folder), rule in ((SUDO, names.sudo), (DOAS, names.doas)):
        yield file, rule
        for name, facts in entries(ground, folder):
            if stat.S_ISREG(facts.st_mode):
                yield f"{folder}/{name}", rule
