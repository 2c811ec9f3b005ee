"""
Whether a file is as a package of the distribution brought it: then an upgrade changed it, and nobody else.

The package manager's own record can be forged by root, as can everything else; this only keeps an ordinary upgrade from
looking like a break-in. Source: dpkg(1), dpkg-query(1); deb-md5sums(5).
"""

import hashlib
import re
from pathlib import Path

from agent.wiper.system.ground import Ground
from agent.wiper.system.tools import is_there, run

DEADLINE_S = 20.0
INFO = Path("/var/lib/dpkg/info")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?")


def brought(ground: Ground, path: str) -> bool:
    """
    Return whether a package says that it brought this file with just this content; False where there is no dpkg.

    Raises:
        OSError: the package manager does not answer.
    """
    if not is_there("dpkg-query"):
        return False
    # A package may still name a file by its path before /usr was merged.
    names = [path, path.removeprefix("/usr")] if path.startswith("/usr/") else [path]
    owners = {(package, name) for name in names for package in _owners(name)}
    if not owners:
        return False
    try:
        text = ground.read(path)
    except OSError:  # a link, say: packages bring those too, but do not say where they lead
        return False
    digest = hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return any(digest == recorded(_sums(package), name) for package, name in owners)


def _owners(path: str) -> list[str]:
    done = run("dpkg-query", "--search", "--", path, deadline_s=DEADLINE_S)
    packages = done.out.rpartition(f": {path}\n")[0].rpartition("\n")[2] if done.code == 0 else ""
    return [one for one in packages.split(", ") if _PACKAGE.fullmatch(one)]


def _sums(package: str) -> str:
    """Return a package's digests, those of its settings included, a path relative to the root on each line."""
    done = run("dpkg-query", "--show", "--showformat=${Conffiles}", "--", package, deadline_s=DEADLINE_S)
    settings = (line.split() for line in done.out.splitlines() if done.code == 0)
    told = [f"{words[1]}  {words[0].removeprefix('/')}" for words in settings if len(words) >= 2]
    for name in (package, package.partition(":")[0]):
        try:
            told.append((INFO / f"{name}.md5sums").read_text("utf-8", "surrogateescape"))
        except FileNotFoundError:
            continue
        break
    return "\n".join(told)


def recorded(sums: str, path: str) -> str | None:
    """Return the digest that a list has for a path; None where it has none. Pure. Source: deb-md5sums(5)."""
    for line in sums.splitlines():
        digest, _, name = line.partition("  ")
        if name == path.removeprefix("/"):
            return digest
    return None
