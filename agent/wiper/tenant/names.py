"""
Lines of system files that are about one account, told by its name as a whole word where a name stands. Pure.

A tenant's name is fresh when it is granted, so whatever names it is about him; a line that names others too only loses
his name.
"""

import re
from collections.abc import Callable, Collection

Rule = Callable[[str, str], str | None]
"""Given a line and a name: the line as it shall be, or None to drop it."""


def _statement(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def cron_d(line: str, name: str) -> str | None:
    """Drop a line of a system crontab that runs as the account. Source: crontab(5), "the sixth field"."""
    fields = line.split()
    at = 1 if fields[:1] and fields[0].startswith("@") else 5
    return None if _statement(line) and len(fields) > at and fields[at] == name else line


def first_field(line: str, name: str) -> str | None:
    """Drop a line whose first field is the account. Source: limits.conf(5), subuid(5), passwd(5)."""
    return None if _statement(line) and re.split(r"[\s:]", line.strip(), maxsplit=1)[0] == name else line


def member(line: str, name: str) -> str | None:
    """Take the account out of a group's members; drop its own group when nobody else is in it. Source: group(5)."""
    fields = line.split(":")
    if len(fields) != 4:
        return line
    lists = [",".join(one for one in field.split(",") if one != name) for field in fields[2:]]
    if fields[0] == name and not lists[-1]:
        return None
    # In group(5) the third field is a number, in gshadow(5) the administrators.
    return ":".join((*fields[:2], *lists))


def sudo(line: str, name: str) -> str | None:
    """Drop a rule for the account, or take it out of a list of users. Source: sudoers(5), "User specification"."""
    if not (_statement(line) or re.match(r"\s*#\d+[\s,]", line)):  # "#1001" is a user, not a comment
        return line
    head, equals, rest = line.partition("=")
    words = head.split(None, 1)
    alias = words[:1] == ["User_Alias"]
    users = rest if alias else words[0] if words else ""
    kept = [one.strip() for one in users.split(",") if one.strip() and one.strip() not in {name, f"!{name}"}]
    if len(kept) == len([one for one in users.split(",") if one.strip()]):
        return line if not line.strip().startswith((f"Defaults:{name}", f"Defaults!{name}")) else None
    if not kept:
        return None
    if alias:
        return f"{head}{equals} {', '.join(kept)}"
    return f"{','.join(kept)} {words[1] if len(words) > 1 else ''}{equals}{rest}"


def doas(line: str, name: str) -> str | None:
    """Drop a rule for the account. Source: doas.conf(5)."""
    words = line.split("#", 1)[0].split()
    if words[:1] not in (["permit"], ["deny"]):
        return line
    options = {"nopass", "nolog", "persist", "keepenv"}
    rest = re.sub(r"setenv\s*\{[^}]*\}", "", " ".join(words[1:])).split()
    who = next((one for one in rest if one not in options), "")
    return None if who == name else line


def access(line: str, name: str) -> str | None:
    """Drop a rule for the account alone, or take it out of one for several. Source: access.conf(5)."""
    fields = line.split(":")
    if not _statement(line) or len(fields) < 3:
        return line
    users = fields[1].split()
    kept = [one for one in users if one not in {name, f"({name})"}]
    if len(kept) == len(users):
        return line
    return ":".join((fields[0], f" {' '.join(kept)} ", *fields[2:])) if kept else None


def fstab(line: str, homes: tuple[str, ...], uid: int) -> str | None:
    """
    Drop a mount whose source or point lies in one of these directories, or whose files are all the account's.

    Source: the manual, fstab in section 5; mount(8), the options uid= of tmpfs, vfat and others.
    """
    if not _statement(line):
        return line
    escaped = re.compile(r"\\([0-7]{3})")
    words = line.split()
    fields = [escaped.sub(lambda octal: chr(int(octal[1], 8)), field) for field in words[:2]]
    inside = any(field == home or field.startswith(home + "/") for field in fields for home in homes)
    owned = len(words) > 3 and f"uid={uid}" in words[3].split(",")
    return None if inside or owned else line


def tmpfiles(line: str, name: str) -> str | None:
    """Drop a line that makes a file or directory the account's. Source: tmpfiles.d(5), "User, group"."""
    fields = line.split()
    return None if _statement(line) and name in fields[3:5] else line


def runs_from(line: str, home: str, other_homes: Collection[str] = ()) -> bool:
    """
    Return whether a command line runs something out of a home.

    A line that only names the home among others' (a backup of all of them, say) does not.
    """
    if not _statement(line) or not _names_path(line, home):
        return False
    program = re.search(r"(?<![\w.])/[^\s;'\"&|)]*", line)
    inside = program is not None and program[0].startswith(home + "/")
    return inside or not any(_names_path(line, one) for one in other_homes)


def _names_path(line: str, path: str) -> bool:
    return bool(re.search(rf"(?<![\w./]){re.escape(path)}(?=/|$|[\s;:,'\"&|)])", line))


def mentions(text: str, name: str) -> bool:
    """Return whether a text names the account as a whole word, comments left out."""
    word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)")
    return any(word.search(line) for line in text.splitlines() if _statement(line))
