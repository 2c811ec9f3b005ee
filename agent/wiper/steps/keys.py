"""
Keys: every key in the tenant's own key files, and the recorded keys of his in everybody else's.

Only bodies that the grant recorded count in others' files, and only where they did not stand before the grant: he may
have copied the administrator's public key into his own file to have it taken from the administrator.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator
from functools import partial

from msgspec.structs import replace

from agent.wiper.steps import (
    NOT_EXAMINED,
    RESIDUE,
    Erased,
    Found,
    Item,
    Looked,
    Subject,
    Tell,
    in_lines,
    printable,
)
from agent.wiper.system.kernel import open_beneath
from agent.wiper.system.lines import Keep, changed, numbers, rewrite
from agent.wiper.system.removal import remove
from agent.wiper.tenant import sshd
from agent.wiper.tenant.inspection import accounts_of
from agent.wiper.tenant.sshd import KeyFile

IN_ITS_PLACE = "removed-by-rackproof"
"""No key, and no word that a shell or an interpreter would take for anything."""


class Keys:
    """Files that sshd takes keys from."""

    name = "keys"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._alive = subject.alive
        self._blobs = frozenset(subject.tenant.key_blobs)
        self._before = frozenset(subject.tenant.key_files_before)

    def find(self) -> Found:
        """Count the tenant's key files and the lines of others' that hold his keys."""
        return Found(sum(one.goes for one in self.list()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Take the tenant's own files away and drop his lines from the others."""
        own, others, survey = self._survey()
        removed, notes = 0, []
        for path in self._program_files(survey):
            try:
                removed += rewrite(self._ground, path, _masking(self._blobs))
            except OSError as error:
                notes.append(f"a program that gives out keys stays as it is: {error.strerror}")
        for file in own:
            try:
                removed += self._cut(file.path)
            except OSError as error:
                notes.append(f"a key file of the tenant's stays: {error.strerror}")
        for file in others:
            try:
                removed += self._drop(file)
            except OSError as error:
                notes.append(f"a key file of uid {file.uid} stays as it is: {error.strerror}")
        return Erased(removed, tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Read every file again."""
        own, others, found = self._survey()
        left, reasons = sum(self._stands(one.path) for one in own), list(found.unseen)
        for file in others:
            try:
                left += self._lines(file)
            except OSError as error:
                reasons.append(f"a key file of uid {file.uid}: {error.strerror}")
        asked = [(program, blob) for program in found.programs for blob in self._blobs]
        if len(asked) > sshd.MOST_ASKED:
            reasons.append(f"a program that gives out keys was asked for {sshd.MOST_ASKED} of {len(asked)} pairs only")
        for program, blob in asked[: sshd.MOST_ASKED]:
            self._alive()
            try:
                left += sshd.gives(program, blob)
            except OSError as error:
                reasons.append(f"{program.command.split()[0]}: {error.strerror}")
        if left:
            return Looked(RESIDUE, left, f"{left} keys or key files of the tenant's")
        if reasons:
            return Looked(NOT_EXAMINED, 0, "; ".join(dict.fromkeys(reasons))[:300])
        return Looked("clean")

    def _survey(self) -> tuple[list[KeyFile], list[KeyFile], sshd.Survey]:
        """Return the tenant's own files, those of others, and all that sshd says."""
        known = {one.name: one for one in accounts_of(self._ground)}
        # The record stands for an account that is gone already: its files may still be there.
        known[self._tenant.name] = self._tenant.account()
        found = sshd.survey(self._ground, known.values())
        own = [one for one in found.files if one.names == (self._tenant.name,)]
        others = [] if self._ground.simulated else [one for one in found.files if one not in own]
        return own, others, found

    def _program_files(self, survey: sshd.Survey) -> tuple[str, ...]:
        """Return the files that a program giving out keys is started with: itself, and a script for an interpreter."""
        if self._ground.simulated:
            return ()
        words = (word for one in survey.programs for word in one.command.split())
        return tuple(dict.fromkeys(word for word in words if word.startswith("/") and "%" not in word))

    def _lines(self, file: KeyFile) -> int:
        if file.path in self._before:
            return 0
        return changed(sshd.read(file), sshd.without(self._blobs))[1]

    def _drop(self, file: KeyFile) -> int:
        if file.path in self._before:
            return 0
        text, dropped = changed(sshd.read(file), sshd.without(self._blobs))
        if dropped:
            sshd.write(file, text)
        return dropped

    def _cut(self, path: str) -> int:
        """Take away the file, or the link in the home on the way to it."""
        directory, name = self._end_of(path)
        if name is None:
            return 0
        try:
            remove(directory, name, folder=False, ours=self._tenant.owns)
            os.fsync(directory)
        finally:
            os.close(directory)
        return 1

    def _stands(self, path: str) -> bool:
        directory, name = self._end_of(path)
        if name is not None:
            os.close(directory)
        return name is not None

    def _end_of(self, path: str) -> tuple[int, str | None]:
        """
        Return a directory, open, and the name in it where a path ends: the file, or the first link below the home.

        Outside the home only the file itself can be the tenant's, so there a link on the way is an error.
        """
        home = self._tenant.home
        top = home if path.startswith(home + "/") else path.rpartition("/")[0]
        try:
            directory = self._ground.open_directory(top)
        except FileNotFoundError:
            return -1, None
        parts = path[len(top) :].strip("/").split("/")
        for part in parts[:-1]:
            try:
                inner = open_beneath(directory, part, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                os.close(directory)
                return -1, None
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    return directory, part
                os.close(directory)
                raise
            os.close(directory)
            directory = inner
        try:
            os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            os.close(directory)
            return -1, None
        return directory, parts[-1]

    def list(self) -> Iterator[Item]:
        """Give his key files, and others' lines with his keys; one file that cannot be read does not hide the rest."""
        own, others, survey = self._survey()
        yield from (Item("his key file", printable(one.path)) for one in own if self._stands(one.path))
        for path in self._program_files(survey):
            yield from self._in(path, partial(self._ground.read, path), _masking(self._blobs))
        for file in others:
            yield from self._in(file.path, partial(sshd.read, file), sshd.without(self._blobs))
        for words in survey.unseen:
            yield Item("place that keys are taken from", printable(words), goes=False, why="it cannot be looked at")

    def _in(self, path: str, read: Callable[[], str], keep: Keep) -> Iterator[Item]:
        """Give the lines of one file with his keys."""
        try:
            found = tuple(numbers(read(), keep))
        except OSError as error:
            words = f"it cannot be read: {error.strerror}"
            yield Item("file that keys are taken from", printable(path), goes=False, why=words)
            return
        for one in in_lines("line with a key of his", path, found):
            before = path in self._before
            yield replace(one, goes=False, why="it stood there before he came") if before else one


def _masking(blobs: frozenset[str]) -> Keep:
    """Return what puts another word in the place of these key bodies."""
    body = re.compile("|".join(rf"(?<![\w+/]){re.escape(blob)}(?![\w+/=])" for blob in sorted(blobs)) or r"(?!)")
    return lambda line: body.sub(IN_ITS_PLACE, line)
