"""
Containers, volumes and images of the tenant's in the machine's own engines; those of his own engine are his files.

An engine is only ever told to remove something by the id that it has told itself. One that has something and cannot be
asked is said to be unseen.
"""

import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from agent.wiper.engines import asking as engines
from agent.wiper.engines import storage
from agent.wiper.engines.asking import DOCKER, ENGINES, PODMAN, Engine
from agent.wiper.engines.containers import STORAGE, Choice, Whose, choose
from agent.wiper.steps import (
    CLEAN,
    NOT_APPLICABLE,
    NOT_EXAMINED,
    RESIDUE,
    Erased,
    Found,
    Item,
    Looked,
    Subject,
    Tell,
)
from agent.wiper.system.folders import entries
from agent.wiper.system.lines import changed
from agent.wiper.tenant import names
from agent.wiper.tenant.groups import POWERFUL, groups_of

PASSES = 4
"""Looks for what is still there: a container or an image goes only after those that depend on it."""
MAX_MEANT = 2000
CONTAINERD = ("/run/containerd/containerd.sock", "/var/lib/containerd", "/run/containerd")
KNOWN = frozenset((*DOCKER.storage, *PODMAN.storage, *CONTAINERD))
UNKNOWN = ("/run/crio/crio.sock", *(path for path in STORAGE if path not in KNOWN))
"""What this version cannot look into."""
HELD = "the tenant's, in use by what is not his or older than the grant"
SUDO = ("/etc/sudoers", "/etc/sudoers.d")


class Containers:
    """What engines hold of the tenant's."""

    name = "containers"

    def __init__(self, subject: Subject) -> None:
        self._ground = subject.ground
        self._tenant = subject.tenant
        self._simulated = subject.ground.simulated
        self._meant = set(subject.meant)
        self._alive = subject.alive
        # What he could do is not seen any more once his account is gone.
        self._could_use: set[str] = set()

    def find(self) -> Found:
        """Count what is his; what was made while he could use an engine, and is nobody's by any sign, is a doubt."""
        items, findings = 0, list[str]()
        for engine, choice in self._choices():
            if self._may_ask(engine):
                findings.append(f"the tenant could use {engine.name}: he could become root")
            if isinstance(choice, str):
                continue
            items += choice.goes
            if choice.unattributed:
                findings.append(f"{engine.name} has unattributed things made since the grant")
        return Found(items, tuple(findings), tuple(sorted(self._meant)[:MAX_MEANT]))

    def erase(self, tell: Tell) -> Erased:
        """Have each engine remove what is his, containers first."""
        removed, notes = 0, list[str]()
        for engine, choice in self._choices():
            if isinstance(choice, str):
                notes.append(choice)
                continue
            try:
                left, refused = self._remove(engine, choice, tell)
            except OSError as error:
                notes.append(f"{engine.name} was left in the middle: {error.strerror}")
                continue
            removed += max(0, choice.goes - left.goes)
            notes += refused
        return Erased(removed, tuple(dict.fromkeys(notes)))

    def verify(self) -> Looked:
        """Ask every engine again."""
        if self._simulated:
            return Looked(NOT_APPLICABLE, reason="a simulated machine has none")
        left, residues, asked = 0, list[str](), 0
        unseen = list(_unseen())
        for engine, choice in self._choices():
            if isinstance(choice, str):
                unseen.append(choice)
                continue
            asked += 1
            residues += _words(engine, choice)
            left += choice.goes + choice.unattributed + choice.held
        reason = "; ".join((*residues, *unseen))[:300]
        if residues:
            return Looked(RESIDUE, left, reason)
        if unseen:
            return Looked(NOT_EXAMINED, reason=reason)
        return Looked(CLEAN) if asked else Looked(NOT_APPLICABLE, reason="no container engine was found")

    def list(self) -> Iterator[Item]:
        """Give what is his, and what would leave a doubt."""
        for engine, choice in self._choices():
            if isinstance(choice, str):
                yield Item("container engine", engine.name, goes=False, why=choice)
                continue
            yield from (Item("container", f"{engine.name} {one.id[:12]}") for one in choice.containers)
            yield from (Item("container volume", f"{engine.name} {one.name}") for one in choice.volumes)
            yield from (Item("container image", f"{engine.name} {one.id[:12]}") for one in choice.images)
            for count, why in (
                (choice.unattributed, "made since the grant, nobody's by any sign"),
                (choice.held, HELD),
            ):
                if count:
                    yield Item(f"{count} things in a container engine", engine.name, goes=False, why=why)
        if not self._simulated:
            yield from (Item("container engine", "this machine", goes=False, why=one) for one in _unseen())

    def _remove(self, engine: Engine, choice: Choice, tell: Tell) -> tuple[Choice, tuple[str, ...]]:
        """Return what is left, and what the engine said to that: what went with another thing was no refusal."""
        left, refused = choice, tuple[str, ...]()
        for _ in range(PASSES):
            if not left.goes:
                return left, ()
            refused = tuple(_remove(engine, left, self._alive))
            last, left = left, self._choice(engine)
            tell(max(0, choice.goes - left.goes), choice.goes)
            if left == last:
                break
        return left, refused if left.goes else ()

    def _choices(self) -> Iterator[tuple[Engine, Choice | str]]:
        """Give each engine that is here, with what is his of it, or why it could not be asked."""
        for engine in ENGINES if not self._simulated else ():
            if not engines.is_here(engine):
                continue
            try:
                yield engine, self._choice(engine)
            except OSError as error:
                yield engine, f"cannot look into {engine.name}: {error.strerror}"

    def _choice(self, engine: Engine) -> Choice:
        if self._may_use(engine):
            self._could_use.add(engine.name)
        choice = choose(engines.stock(engine), self._whose(engine))
        marks = (*(one.mark for one in choice.volumes), *(one.mark for one in choice.images))
        self._meant |= {f"{engine.name} {mark}" for mark in marks}
        return choice

    def _whose(self, engine: Engine) -> Whose:
        prefix = f"{engine.name} "
        return Whose(
            name=self._tenant.name,
            uid=self._tenant.uid,
            home=self._tenant.home,
            booking_id=self._tenant.booking_id,
            since=self._tenant.granted_at,
            could_use=engine.name in self._could_use,
            meant=frozenset(one.removeprefix(prefix) for one in self._meant if one.startswith(prefix)),
        )

    def _may_use(self, engine: Engine) -> bool:
        """Return whether the tenant could have the engine make things: by its socket, or as root."""
        groups = groups_of(self._ground.read("/etc/group"), self._tenant.name)
        return bool(groups.keys() & POWERFUL) or self._may_sudo() or self._may_ask(engine)

    def _may_ask(self, engine: Engine) -> bool:
        groups = groups_of(self._ground.read("/etc/group"), self._tenant.name)
        try:
            facts = Path(engine.socket).stat()
        except OSError:
            return False
        member = str(facts.st_gid) in {*groups.values(), str(self._tenant.gid)}
        return bool(facts.st_mode & 0o002 or (facts.st_mode & 0o020 and member))

    def _may_sudo(self) -> bool:
        file, folder = SUDO
        texts = [self._ground.read(file)]
        texts += [
            self._ground.read(f"{folder}/{name}")
            for name, facts in entries(self._ground, folder)
            if stat.S_ISREG(facts.st_mode)
        ]
        words = (self._tenant.name, f"#{self._tenant.uid}")
        return any(changed(text, partial(_without_rule, word))[1] for text in texts for word in words)


def _without_rule(word: str, line: str) -> str | None:
    return names.sudo(line, word)


def _unseen() -> tuple[str, ...]:
    """Say what is here and cannot be asked."""
    here = [path for path in (*UNKNOWN, *storage.unasked()) if _is_used(path)]
    return (*((f"cannot look into: {', '.join(here)}",) if here else ()), *_containerd())


def _containerd() -> Iterator[str]:
    """Say so where containerd has more than what it does for Docker, or does not answer."""
    if not any(map(_is_used, (*CONTAINERD, *storage.of_containerd_alone()))):
        return
    try:
        others = engines.namespaces(but=engines.OF_DOCKER if engines.is_here(DOCKER) else frozenset())
    except OSError as error:
        yield f"cannot look into containerd: {error.strerror}"
        return
    if others:
        yield f"cannot look into containerd: {len(others)} namespaces of it are not Docker's"


def _is_used(path: str) -> bool:
    return Path(path).is_socket() or engines.holds_something(path)


def _remove(engine: Engine, choice: Choice, alive: Callable[[], None]) -> Iterator[str]:
    """Have an engine remove all that is chosen; say what it refuses."""
    pods = _whole_pods(choice)
    acts: list[Callable[[], None]] = [partial(engines.remove_pod, engine, pod) for pod in pods]
    acts += [partial(engines.remove_container, engine, one) for one in choice.containers if one.pod not in pods]
    acts += [partial(engines.remove_volume, engine, one) for one in choice.volumes]
    acts += [partial(engines.remove_image, engine, one) for one in choice.images]
    for act in acts:
        alive()
        try:
            act()
        except OSError as error:
            yield error.strerror or str(error)


def _whole_pods(choice: Choice) -> frozenset[str]:
    """Return the pods whose own container goes, which is so only where all of the pod goes."""
    return frozenset(one.pod for one in choice.containers if one.infra and one.pod)


def _words(engine: Engine, choice: Choice) -> Iterator[str]:
    if choice.goes:
        yield f"{engine.name}: {choice.goes} containers, volumes or images of the tenant's"
    if choice.unattributed:
        yield f"{engine.name}: {choice.unattributed} unattributed, made since the grant"
    if choice.held:
        yield f"{engine.name}: {choice.held} {HELD}"
