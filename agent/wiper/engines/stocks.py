"""What container engines say of themselves, as Docker's and Podman's `inspect` print it. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from agent.wiper.engines.containers import Container, Image, Stock, Volume
from shared.records import Moment

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class _Mount(Struct, rename="pascal"):
    type: str = ""
    name: str = ""
    source: str = ""


class _Config(Struct, rename="pascal"):
    user: str | None = None
    labels: dict[str, str] | None = None


class SaidContainer(Struct, rename="pascal"):
    """A container; Docker has no pods."""

    id: str
    created: Moment
    image: str = ""
    pod: str | None = None
    is_infra: bool = False
    config: _Config = msgspec.field(default_factory=_Config)
    mounts: tuple[_Mount, ...] | None = None


class SaidVolume(Struct, rename="pascal"):
    """A volume."""

    name: str
    created_at: Moment
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class _Metadata(Struct, rename="pascal"):
    last_tag_time: Moment | None = None


class SaidImage(Struct, rename="pascal"):
    """An image; what it is made from may not say when it was built."""

    id: str
    created: Moment | None = None
    config: _Config | None = None
    metadata: _Metadata | None = None


def read(
    containers: Iterable[SaidContainer],
    volumes: Iterable[SaidVolume],
    images: Iterable[SaidImage],
    births: Mapping[str, datetime] | None = None,
) -> Stock:
    """Turn what an engine says into what is decided on; `births`: when images' files were made."""
    known = {plain(one.id): one for one in images}
    users = {id_: (one.config.user or "") if one.config else "" for id_, one in known.items()}
    return Stock(
        tuple(_container(one, users) for one in containers),
        tuple(
            Volume(
                name=one.name,
                made_at=one.created_at,
                labels=one.labels or {},
                device=(one.options or {}).get("device", ""),
            )
            for one in volumes
        ),
        tuple(_image(id_, one, (births or {}).get(id_)) for id_, one in known.items()),
    )


def _container(one: SaidContainer, users: Mapping[str, str]) -> Container:
    image, user, mounts = plain(one.image), one.config.user or "", one.mounts or ()
    return Container(
        id=one.id,
        made_at=one.created,
        labels=one.config.labels or {},
        # Many images run as user 1000 or so, which says nothing of an account with that number.
        user="" if user == users.get(image) else user,
        binds=tuple(mount.source for mount in mounts if mount.type == "bind"),
        volumes=tuple(mount.name for mount in mounts if mount.type == "volume"),
        image=image,
        pod=one.pod or "",
        infra=one.is_infra,
    )


def _image(id_: str, one: SaidImage, birth: datetime | None) -> Image:
    arrived = birth or one.created or NEVER
    named = (one.metadata.last_tag_time if one.metadata else None) or arrived
    labels = (one.config.labels if one.config else None) or {}
    return Image(id=id_, arrived_at=arrived, named_at=named, labels=labels)


def plain(id_: str) -> str:
    """Return an id without the kind of its digest, as Podman writes it."""
    return id_.removeprefix("sha256:")
