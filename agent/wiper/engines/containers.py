"""What container engines hold, and what of it is a tenant's. Pure."""

import posixpath
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from msgspec import Struct, field

from agent.wiper.system.mountinfo import beneath

STORAGE = (
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/buildkit",
    "/var/lib/nerdctl",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/k0s",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/incus",
    "/var/lib/machines",
    "/var/snap/lxd",
    "/var/snap/docker",
    "/var/snap/microk8s",
    "/run/containerd",
    "/run/containers/storage",
    "/run/docker",
    "/run/k3s",
    "/run/k0s",
    "/run/kata-containers",
)
"""Where engines keep files whose user ids are a container's own. Source: each engine's documented data directory."""

BOOKING_LABEL, TENANT_LABEL = "rackproof.booking", "rackproof.tenant"
"""What tells whose a container, a volume or an image is: the booking's id, the account's name."""


class Container(Struct, frozen=True, kw_only=True):
    """
    A container, running or not.

    `user`: the one it was made with, where that is not just its image's; `binds`: paths of the machine in it;
    `volumes`: their names; `pod`: the id of a group that it can only be removed with; `infra`: it only holds that.
    """

    id: str
    made_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    binds: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    image: str = ""
    pod: str = ""
    infra: bool = False


class Volume(Struct, frozen=True, kw_only=True):
    """A volume; `device`: what is mounted as its content, where it has none of its own."""

    name: str
    made_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    device: str = ""

    @property
    def mark(self) -> str:
        """What it is told by later; another volume may get the same name."""
        return f"{self.name} {self.made_at.isoformat()}"


class Image(Struct, frozen=True, kw_only=True):
    """
    An image; `arrived_at`: when it came to this machine as far as that is known, else when it was built.

    `named_at`: when it got its newest name here, or the same.
    """

    id: str
    arrived_at: datetime
    named_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """What it is told by later."""
        return f"{self.id} {self.arrived_at.isoformat()}"


class Stock(Struct, frozen=True):
    """All that one engine holds."""

    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    images: tuple[Image, ...] = ()


class Whose(Struct, frozen=True, kw_only=True):
    """
    Who is looked for.

    `since`: when the account was granted; `could_use`: whether he could have the engine make things himself;
    `meant`: marks of volumes and images that an earlier look found to be his.
    """

    name: str
    uid: int
    home: str
    booking_id: str | None
    since: datetime
    could_use: bool = False
    meant: frozenset[str] = frozenset()


class Choice(NamedTuple):
    """
    What of a stock goes, and what leaves a doubt.

    `unattributed`: made since the grant, nobody's by any sign; `held`: his, but in use by what is not his or older.
    """

    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    images: tuple[Image, ...] = ()
    unattributed: int = 0
    held: int = 0

    @property
    def goes(self) -> int:
        """How many things go."""
        return len(self.containers) + len(self.volumes) + len(self.images)


class Side(Enum):
    """Whose a thing is: the tenant's, certainly not his, made since the grant by somebody, or in the way."""

    HIS = "his"
    OTHERS = "others"
    UNKNOWN = "unknown"
    HELD = "held"


def choose(stock: Stock, whose: Whose) -> Choice:
    """
    Decide what of an engine's is the tenant's.

    His are things that bear his booking's label, whenever they were made; and, made since the grant and bearing nobody
    else's label: things that bear his name's label, containers with something out of his home or made to run as him,
    volumes out of his home, and volumes and images that only containers of his use. Nothing else is ever chosen.
    """
    devices = {one.name for one in stock.volumes if one.device and _is_in(one.device, whose.home)}
    sides = {one.id: _side_of_container(one, devices, whose) for one in stock.containers}
    for one in stock.containers:
        if one.infra and one.pod and sides[one.id] in {Side.UNKNOWN, Side.HIS}:
            mates = {sides[other.id] for other in stock.containers if other.pod == one.pod and not other.infra}
            sides[one.id] = Side.HIS if mates == {Side.HIS} else sides[one.id]
    volumes = {
        one.name: _side_of_contents(
            _label(one.labels, one.made_at, whose),
            [sides[user.id] for user in stock.containers if one.name in user.volumes],
            made=_is_since(one.made_at, whose),
            touched=_is_since(one.made_at, whose),
            meant=one.mark in whose.meant or one.name in devices,
        )
        for one in stock.volumes
    }
    images = {
        one.id: _side_of_contents(
            _label(one.labels, one.arrived_at, whose),
            [sides[user.id] for user in stock.containers if one.id == user.image],
            made=_is_since(one.arrived_at, whose),
            touched=_is_since(one.arrived_at, whose) or _is_since(one.named_at, whose),
            meant=one.mark in whose.meant,
        )
        for one in stock.images
    }
    every = (*sides.values(), *volumes.values(), *images.values())
    return Choice(
        tuple(one for one in stock.containers if sides[one.id] is Side.HIS),
        tuple(one for one in stock.volumes if volumes[one.name] is Side.HIS),
        tuple(one for one in stock.images if images[one.id] is Side.HIS),
        unattributed=every.count(Side.UNKNOWN) if whose.could_use else 0,
        held=every.count(Side.HELD),
    )


def _label(labels: Mapping[str, str], made_at: datetime, whose: Whose) -> Side:
    """Return whose a thing is by its labels; unknown where they say nothing."""
    booking, tenant = labels.get(BOOKING_LABEL), labels.get(TENANT_LABEL)
    if booking is not None:
        return Side.HIS if booking == whose.booking_id else Side.OTHERS
    if tenant is None:
        return Side.UNKNOWN
    # A name comes again with another booking: what is older was another tenant's of the same name.
    return Side.HIS if tenant == whose.name and _is_since(made_at, whose) else Side.OTHERS


def _side_of_container(one: Container, devices: set[str], whose: Whose) -> Side:
    label = _label(one.labels, one.made_at, whose)
    if label is not Side.UNKNOWN:
        return label
    in_home = any(_is_in(path, whose.home) for path in one.binds) or not devices.isdisjoint(one.volumes)
    if not _is_since(one.made_at, whose):
        return Side.HELD if in_home else Side.OTHERS
    as_him = one.user.partition(":")[0] in {whose.name, str(whose.uid)}
    return Side.HIS if in_home or as_him else Side.UNKNOWN


def _side_of_contents(label: Side, users: Iterable[Side], *, made: bool, touched: bool, meant: bool) -> Side:
    """Return whose a volume or an image is: by its label, else by the containers that use it."""
    sides = set(users)
    if label is Side.OTHERS:
        return label
    if label is Side.HIS or (made and meant):
        return Side.HIS if sides <= {Side.HIS} else Side.HELD
    if made and sides == {Side.HIS}:
        return Side.HIS
    # What somebody else's container uses has come for that one.
    return Side.UNKNOWN if touched and not sides & {Side.OTHERS, Side.HELD} else Side.OTHERS


def _is_since(at: datetime, whose: Whose) -> bool:
    """Return whether a time is not before the grant; some are only told in whole seconds, those of Docker's volumes."""
    return at >= (whose.since if at.microsecond else whose.since.replace(microsecond=0))


def _is_in(path: str, home: str) -> bool:
    return beneath(posixpath.normpath("/" + path.lstrip("/")), home)
