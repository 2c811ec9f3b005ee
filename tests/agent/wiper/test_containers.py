"""What of a container engine's is a tenant's: the pure decision, and how it reads what engines say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wiper import history
from agent.wiper.engines.asking import ID, VOLUME
from agent.wiper.engines.containers import (
    BOOKING_LABEL,
    TENANT_LABEL,
    Choice,
    Container,
    Image,
    Stock,
    Volume,
    Whose,
    choose,
)
from agent.wiper.engines.stocks import SaidContainer, SaidImage, SaidVolume, read
from agent.wiper.journal import Journal, OrderTaken, StepIntended
from tests.agent.wiper.harness import ENVELOPE

GRANT = datetime(2026, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC)
BEFORE, AFTER = GRANT - timedelta(days=1), GRANT + timedelta(hours=1)
WHOSE = Whose(name="alice", uid=1500, home="/home/alice", booking_id="b-1", since=GRANT, could_use=True)
HIS, OTHERS = {BOOKING_LABEL: "b-1"}, {BOOKING_LABEL: "b-2"}


def container(id_: str = "c", made_at: datetime = AFTER, **fields: object) -> Container:
    return msgspec.convert({"id": id_, "made_at": made_at, **fields}, Container)


def volume(name: str = "v", made_at: datetime = AFTER, **fields: object) -> Volume:
    return msgspec.convert({"name": name, "made_at": made_at, **fields}, Volume)


def image(id_: str = "i", arrived_at: datetime = AFTER, **fields: object) -> Image:
    return msgspec.convert({"id": id_, "arrived_at": arrived_at, "named_at": arrived_at, **fields}, Image)


def chosen(choice: Choice) -> set[str]:
    return {one.id for one in (*choice.containers, *choice.images)} | {one.name for one in choice.volumes}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (container(labels=HIS), "his"),
        (container(labels=HIS, made_at=BEFORE), "his"),
        (container(labels={TENANT_LABEL: "alice"}), "his"),
        (container(labels={TENANT_LABEL: "alice"}, made_at=BEFORE), "no doubt"),
        (container(binds=["/home/alice/data"]), "his"),
        (container(binds=["/home/alice"]), "his"),
        (container(binds=["/home/alicent", "/home", "/"]), "unattributed"),
        (container(user="alice"), "his"),
        (container(user="1500:50"), "his"),
        (container(user="150"), "unattributed"),
        (container(user="0:1500"), "unattributed"),
        (container(), "unattributed"),
        (container(labels=OTHERS, binds=["/home/alice"], user="alice"), "no doubt"),
        (container(labels={**OTHERS, TENANT_LABEL: "alice"}), "no doubt"),
        (container(labels={TENANT_LABEL: "bob"}, user="alice"), "no doubt"),
        (container(made_at=BEFORE, user="1500"), "no doubt"),
        (container(made_at=BEFORE, binds=["/home/alice/x"]), "held"),
        (container(made_at=BEFORE), "no doubt"),
    ],
)
def test_whose_a_container_is(one: Container, expected: str) -> None:
    """Its labels come first, then the grant's time, then what it has of the tenant's."""
    choice = choose(Stock(containers=(one,)), WHOSE)
    said = {"his": choice.goes, "unattributed": choice.unattributed, "held": choice.held, "no doubt": 0}
    assert said[expected] == (expected != "no doubt")
    assert choice.goes + choice.unattributed + choice.held == (expected != "no doubt")


@pytest.mark.parametrize("kind", ["volume", "image"])
@pytest.mark.parametrize(
    ("made_at", "labels", "users", "expected"),
    [
        (AFTER, {}, ("mine",), "his"),
        (AFTER, {}, ("mine", "old"), "no doubt"),
        (AFTER, {}, ("mine", "new"), "unattributed"),
        (AFTER, {}, (), "unattributed"),
        (AFTER, {}, ("bobs",), "no doubt"),
        (BEFORE, {}, ("mine",), "no doubt"),
        (BEFORE, HIS, (), "his"),
        (AFTER, HIS, ("bobs",), "held"),
        (AFTER, HIS, ("new",), "held"),
        (AFTER, OTHERS, ("mine",), "no doubt"),
    ],
)
def test_whose_a_volume_or_an_image_is(
    kind: str, made_at: datetime, labels: dict[str, str], users: tuple[str, ...], expected: str
) -> None:
    """What it is used by tells, where its labels do not; what anybody else uses never goes."""
    use = {"volumes": ["x"]} if kind == "volume" else {"image": "x"}
    every = {
        "mine": container("mine", labels=HIS, **use),
        "bobs": container("bobs", labels=OTHERS, **use),
        "old": container("old", BEFORE, **use),
        "new": container("new", **use),
    }
    containers = tuple(every[user] for user in users)
    stock = (
        Stock(containers, volumes=(volume("x", made_at, labels=labels),))
        if kind == "volume"
        else Stock(containers, images=(image("x", made_at, labels=labels),))
    )
    choice = choose(stock, WHOSE)
    assert ("x" in chosen(choice)) == (expected == "his")
    assert choice.held == (expected == "held")
    assert choice.unattributed - users.count("new") == (expected == "unattributed")


def test_a_volume_that_stands_for_his_home_is_his_with_what_uses_it() -> None:
    """Mounted by name, it is out of his home all the same."""
    stock = Stock((container(volumes=["v"]),), (volume(device="/home/alice/data"),))
    assert chosen(choose(stock, WHOSE)) == {"c", "v"}


def test_nothing_is_unattributed_where_the_tenant_could_not_use_the_engine() -> None:
    """Then somebody else made it."""
    stock = Stock((container(),), (volume(),), (image(),))
    assert choose(stock, msgspec.structs.replace(WHOSE, could_use=False)) == Choice()
    assert choose(stock, WHOSE).unattributed == 3


def test_an_old_image_with_a_new_name_is_a_doubt() -> None:
    """It may have been brought then; when it was built says nothing."""
    named = msgspec.structs.replace(image(arrived_at=BEFORE), named_at=AFTER)
    stock = Stock((container(labels=HIS, image="i"),), images=(named,))
    choice = choose(stock, WHOSE)
    assert (chosen(choice), choice.unattributed) == ({"c"}, 1)


def test_a_time_in_whole_seconds_is_not_taken_for_an_older_one() -> None:
    """Docker tells of volumes so: one of the grant's own second came after it or at most a moment before."""
    whole = GRANT.replace(microsecond=0)
    stock = Stock((container(labels=HIS, volumes=["v", "w"]),), (volume(made_at=whole),))
    assert "v" in chosen(choose(stock, WHOSE))
    just_before = volume("w", GRANT - timedelta(microseconds=1))
    assert "w" not in chosen(choose(msgspec.structs.replace(stock, volumes=(just_before,)), WHOSE))


def test_what_an_earlier_attempt_knew_to_be_his_is_known_after_his_containers_are_gone() -> None:
    """And another volume that was given the same name since is not taken for it."""
    meant = msgspec.structs.replace(WHOSE, meant=frozenset({volume().mark, image().mark}))
    assert chosen(choose(Stock(volumes=(volume(),), images=(image(),)), meant)) == {"v", "i"}
    later = volume(made_at=AFTER + timedelta(hours=1))
    assert choose(Stock(volumes=(later,)), meant).goes == 0
    in_use = Stock((container(volumes=["v"]),), (volume(),))
    assert choose(in_use, meant).goes == 0


def test_what_was_meant_outlives_the_attempt_in_the_journal(tmp_path: Path) -> None:
    """Only for the same grant of the account."""
    journal = Journal(tmp_path / "journal.db")
    for number, generation in enumerate(("g-1", "g-2")):
        taken = OrderTaken(
            command_id=generation, sha256="s", envelope=ENVELOPE, seq=number, kind="wipe", generation=generation
        )
        intended = StepIntended(command_id=generation, step="containers", found=1, meant=(f"docker {generation}",))
        journal.append(AFTER, taken, intended)
    journal.close()
    assert history.read(Journal(tmp_path / "journal.db").entries).meant == {
        "g-1": frozenset({"docker g-1"}),
        "g-2": frozenset({"docker g-2"}),
    }


LABELS = st.sampled_from(
    [{}, HIS, OTHERS, {TENANT_LABEL: "alice"}, {TENANT_LABEL: "bob"}, OTHERS | {TENANT_LABEL: "alice"}]
)
TIMES = st.sampled_from([BEFORE, GRANT - timedelta(microseconds=1), GRANT, AFTER])
NAMES = st.sampled_from("abc")
CONTAINERS = st.builds(
    Container,
    id=NAMES,
    made_at=TIMES,
    labels=LABELS,
    user=st.sampled_from(["", "alice", "1500", "0"]),
    binds=st.lists(st.sampled_from(["/home/alice", "/home/alice/x", "/home", "/srv"]), max_size=2).map(tuple),
    volumes=st.lists(NAMES, max_size=2).map(tuple),
    image=NAMES,
    pod=st.sampled_from(["", "p"]),
    infra=st.booleans(),
)
VOLUMES = st.builds(
    Volume, name=NAMES, made_at=TIMES, labels=LABELS, device=st.sampled_from(["", "/home/alice/d", "/srv"])
)
IMAGES = st.builds(Image, id=NAMES, arrived_at=TIMES, named_at=TIMES, labels=LABELS)
STOCKS = st.builds(
    Stock,
    st.lists(CONTAINERS, max_size=3, unique_by=lambda one: one.id).map(tuple),
    st.lists(VOLUMES, max_size=3, unique_by=lambda one: one.name).map(tuple),
    st.lists(IMAGES, max_size=3, unique_by=lambda one: one.id).map(tuple),
)
MEANT = st.sets(st.one_of(VOLUMES, IMAGES).map(lambda one: one.mark), max_size=3).map(frozenset)


@given(STOCKS, st.booleans(), MEANT)
def test_nothing_of_others_is_ever_chosen(stock: Stock, could_use: bool, meant: frozenset[str]) -> None:
    """Neither what is labelled for another, nor what is older than the grant and does not bear the booking's label."""
    whose = msgspec.structs.replace(WHOSE, could_use=could_use, meant=meant)
    choice = choose(stock, whose)
    for one in (*choice.containers, *choice.volumes, *choice.images):
        booking, tenant = one.labels.get(BOOKING_LABEL), one.labels.get(TENANT_LABEL)
        made_at = one.arrived_at if isinstance(one, Image) else one.made_at
        assert booking in {None, "b-1"}
        assert booking == "b-1" or tenant in {None, "alice"}
        assert booking == "b-1" or made_at >= GRANT


@given(STOCKS, st.booleans(), MEANT)
def test_nothing_that_others_use_is_ever_chosen(stock: Stock, could_use: bool, meant: frozenset[str]) -> None:
    """An engine would refuse, or end what is not the tenant's."""
    choice = choose(stock, msgspec.structs.replace(WHOSE, could_use=could_use, meant=meant))
    staying = [one for one in stock.containers if one not in choice.containers]
    assert not {one.name for one in choice.volumes} & {name for one in staying for name in one.volumes}
    assert not {one.id for one in choice.images} & {one.image for one in staying}


@given(STOCKS)
def test_what_bears_the_bookings_label_goes_or_is_told(stock: Stock) -> None:
    """Nothing of it is passed over in silence, whether or not he could use the engine."""
    choice = choose(stock, msgspec.structs.replace(WHOSE, could_use=False))
    labelled = [one for one in (*stock.containers, *stock.volumes, *stock.images) if one.labels == HIS]
    gone = [one for one in labelled if one in (*choice.containers, *choice.volumes, *choice.images)]
    assert len(labelled) - len(gone) <= choice.held


@given(STOCKS)
def test_a_second_look_after_the_removal_finds_nothing_to_remove(stock: Stock) -> None:
    """So a wipe that is asked for again changes nothing more."""
    choice = choose(stock, WHOSE)
    left = Stock(
        tuple(one for one in stock.containers if one not in choice.containers),
        tuple(one for one in stock.volumes if one not in choice.volumes),
        tuple(one for one in stock.images if one not in choice.images),
    )
    assert choose(left, WHOSE).goes == 0


DOCKER = b"""
[{"Id": "0a6bb72e0fd1", "Created": "2026-05-02T10:00:00.123456789Z", "Image": "sha256:345075e398d0", "Driver": "vfs",
  "Config": {"User": "1500", "Labels": {"rackproof.booking": "b-1"}, "Image": "tiny"},
  "Mounts": [{"Type": "bind", "Source": "/srv", "Destination": "/x"},
             {"Type": "volume", "Name": "named", "Source": "/var/lib/docker/volumes/named/_data"}, {"Type": "tmpfs"}]}]
"""
PODMAN = b"""
[{"Id": "a1a113fc7cdf", "Created": "2026-05-02T12:00:00.5+02:00", "Image": "345075e398d0", "Pod": "4434bc873314",
  "IsInfra": true, "Config": {"User": "1500", "Labels": null}, "Mounts": []}]
"""
IMAGE = b"""
[{"Id": "sha256:345075e398d0", "Created": "2020-01-01T00:00:00Z", "Config": {"User": "1500", "Labels": null},
  "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"}},
 {"Id": "75e398d0abcd", "Config": null}]
"""
VOLUME_SAID = b"""
[{"Name": "named", "CreatedAt": "2026-05-02T10:00:00Z", "Labels": null, "Options": null},
 {"Name": "out", "CreatedAt": "2026-05-02T10:00:00.25Z", "Labels": {"a": "b"}, "Options": {"device": "/home/alice"}}]
"""


def test_what_engines_say_is_read() -> None:
    """As Docker 20 and Podman 4 print it, with nulls where there is nothing, digests with and without their kind."""
    images = msgspec.json.decode(IMAGE, type=list[SaidImage])
    containers = [one for text in (DOCKER, PODMAN) for one in msgspec.json.decode(text, type=list[SaidContainer])]
    born = {"345075e398d0": AFTER}
    stock = read(containers, msgspec.json.decode(VOLUME_SAID, type=list[SaidVolume]), images, born)
    docker, podman = stock.containers
    assert (docker.image, docker.binds, docker.volumes) == ("345075e398d0", ("/srv",), ("named",))
    assert (docker.labels, podman.labels, podman.pod, podman.infra) == (HIS, {}, "4434bc873314", True)
    assert podman.made_at == datetime(2026, 5, 2, 10, 0, 0, 500_000, tzinfo=UTC)
    assert [one.device for one in stock.volumes] == ["", "/home/alice"]
    assert [one.arrived_at for one in stock.images] == [AFTER, datetime(1970, 1, 1, tzinfo=UTC)]


def test_the_user_of_an_image_says_nothing_of_who_runs_it() -> None:
    """Many images run as user 1000 or so: only a user that was asked for counts."""
    said = msgspec.json.decode(DOCKER, type=list[SaidContainer])
    same = read(said, (), msgspec.json.decode(IMAGE, type=list[SaidImage]))
    assert [one.user for one in same.containers] == [""]
    assert [one.user for one in read(said, (), ()).containers] == ["1500"]


@pytest.mark.parametrize("said", ["--all", "", "a" * 65, "ABCDEF012345", "../../etc", "0a6bb72e0fd1;x"])
def test_only_an_id_is_handed_on_as_one(said: str) -> None:
    """Whatever an engine prints as a list."""
    assert not ID.fullmatch(said)


@pytest.mark.parametrize("said", ["--force", "", ".", "a/b", "a b", "a" * 256, "-x"])
def test_only_a_volumes_name_is_handed_on_as_one(said: str) -> None:
    """Names are somebody's choice."""
    assert not VOLUME.fullmatch(said)
