"""Copies that no deletion reaches: what tools and the kernel say of them, and what that amounts to."""

import json
import struct

import pytest

from agent.wiper.blocks import btrfs
from agent.wiper.blocks.btrfs import Subvolume
from agent.wiper.blocks.media import Device
from agent.wiper.blocks.snapshots import is_rsync, logical_volumes, made_since, parse_lvs, parse_zfs
from agent.wiper.steps.copies import Kept, judged

GRANTED = 1_700_000_000
HOME_LV = "Qd0kAqLmZr3sVw8xT1yU5bN7cE2fG4hJ"
ORIGIN = "Qd0kAq-LmZr-3sVw-8xT1-yU5b-N7cE-2fG4hJ"


def lvs(*rows: tuple[str, str, int]) -> str:
    """As lvs 2.03.16 writes it with --reportformat json."""
    told = [{"lv_uuid": one, "origin_uuid": origin, "lv_time": str(made)} for one, origin, made in rows]
    return json.dumps({"report": [{"lv": told}]})


def test_snapshots_of_his_volume_since_the_grant_are_counted() -> None:
    """Those of snapshots too; older ones, and those of other volumes, hold nothing of his."""
    text = lvs(
        (ORIGIN, "", GRANTED - 999),
        ("new", ORIGIN, GRANTED + 5),
        ("old", ORIGIN, GRANTED - 5),
        ("grandchild", "old", GRANTED + 9),
        ("other", "", 0),
        ("of-other", "other", GRANTED + 5),
    )
    assert parse_lvs(text, frozenset({HOME_LV}), GRANTED) == {"new", "grandchild"}


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"report": [{"lv": [{}]}]}', lvs((ORIGIN, "", 1)).replace('"1"', '""')]
)
def test_what_lvs_does_not_say_is_not_taken_for_none(text: str) -> None:
    """An answer that is not understood is an error, never an empty list."""
    with pytest.raises(OSError, match="not understood"):
        parse_lvs(text, frozenset({HOME_LV}), GRANTED)


def test_the_volumes_below_a_device_are_known_by_their_ids() -> None:
    """Also below encryption; a layer of LVM's own has a suffix."""
    volume = Device(name="dm-0", layer=f"LVM-{'g' * 32}{HOME_LV}-real\n", below=(Device(name="sda1"),))
    assert logical_volumes(Device(name="dm-1", layer="CRYPT-LUKS2-x-home", below=(volume,))) == {HOME_LV}
    assert not logical_volumes(Device(name="sda1"))


def test_snapshots_of_mounted_data_sets_since_the_grant_are_counted() -> None:
    """As `zfs list -H -p` writes them: a name and a Unix time a line."""
    text = f"tank/home@a\t{GRANTED + 1}\ntank/home@old\t{GRANTED - 1}\ntank/other@b\t{GRANTED + 1}\n"
    assert parse_zfs(text, frozenset({"tank/home"}), GRANTED) == {"tank/home@a"}
    assert not parse_zfs("", frozenset({"tank/home"}), GRANTED)
    with pytest.raises(OSError, match="not understood"):
        parse_zfs("tank/home@a", frozenset({"tank/home"}), GRANTED)


def test_a_subvolume_is_a_snapshot_by_where_it_came_from() -> None:
    """By its item in the tree of roots; one that is being deleted is none any more."""
    item = bytearray(439)
    struct.pack_into("<I", item, 216, 1)
    struct.pack_into("<Q", item, 339, GRANTED)
    assert btrfs.parse(300, bytes(item)) == Subvolume(300, snapshot=False, made_at_s=GRANTED)
    item[263] = 1
    assert btrfs.parse(300, bytes(item)) == Subvolume(300, snapshot=True, made_at_s=GRANTED)
    assert btrfs.parse(5, bytes(item)) is None
    struct.pack_into("<I", item, 216, 0)
    assert btrfs.parse(300, bytes(item)) is None


def test_timeshift_is_asked_only_where_it_copies_by_itself() -> None:
    """Not set up, or making btrfs snapshots: nothing of its own. Its names are times."""
    assert is_rsync('{"backup_device_uuid": "0f-1", "btrfs_mode": "false"}')
    assert not is_rsync('{"backup_device_uuid": "0f-1", "btrfs_mode": "true"}')
    assert not is_rsync('{"backup_device_uuid": "", "btrfs_mode": "false"}')
    assert not is_rsync("")
    with pytest.raises(OSError, match="not understood"):
        is_rsync("[]")
    assert made_since("2024-01-02_03-04-05", GRANTED)
    assert not made_since("2023-01-02_03-04-05", GRANTED)
    assert not made_since("lost+found", GRANTED)


@pytest.mark.parametrize(
    ("kept", "state", "left", "reason"),
    [
        ((), "not_applicable", 0, "nothing here makes snapshots"),
        ((Kept("btrfs snapshots"),), "clean", 0, None),
        ((Kept("ZFS snapshots", 2),), "residue", 2, "2 ZFS snapshots made since the account was"),
        ((Kept("LVM snapshots", unseen="no"),), "not_examined", 0, "LVM snapshots could not be counted: no"),
        (
            (Kept("LVM snapshots", unseen="no"), Kept("btrfs snapshots", 1)),
            "residue",
            1,
            "1 btrfs snapshots made since the account was; LVM snapshots could not be counted: no",
        ),
    ],
)
def test_copies_are_told_and_what_cannot_be_counted_is_never_clean(kept, state, left, reason) -> None:
    """Residue where there are some; not examined where a tool is missing, hangs or fails."""
    looked = judged(kept)
    assert (looked.state, looked.left, looked.reason) == (state, left, reason)
