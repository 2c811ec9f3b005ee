"""Whom an order may touch: every objection comes before anything is touched."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.wiper.policy import Policy
from agent.wiper.tenant.accounts import Account, Home, IdRange, Inspected, Tenant, check_target, free_uid, read_accounts
from shared.codes import Code, Trouble
from shared.documents import Target

TENANT = Tenant(
    name="alice",
    uid=1005,
    gid=1005,
    home="/home/alice",
    generation="g1",
    booking_id="b",
    command_id="c",
    granted_at=datetime(2026, 1, 1, tzinfo=UTC),
    subordinate=(IdRange("alice", 100_000, 65_536),),
)
TARGET = Target(username="alice", uid=1005, generation="g1")
ROW = Account("alice", 1005, 1005, "/home/alice")
BOB = Account("bob", 1006, 1006, "/home/bob")
ROOT = Account("root", 0, 0, "/root")
FINE = Inspected(
    accounts=(ROOT, ROW, BOB),
    id_ranges=TENANT.subordinate,
    home=Home(kind="directory", owner=1005, mode=0o755),
    owner=1005,
    keeper=0,
)


def objection(
    target: Target = TARGET,
    tenant: Tenant | None = TENANT,
    policy: Policy | None = None,
    touched: bool = False,
    **found: Any,
) -> Code | None:
    try:
        check_target(target, tenant, lambda _: replace(FINE, **found), policy or Policy(), touched=touched)
    except Trouble as trouble:
        return trouble.code
    return None


def test_the_recorded_account_may_be_touched() -> None:
    """Record, row, ranges and home fit."""
    assert objection() is None


@pytest.mark.parametrize(
    "name",
    ["", "/", "..", ".", "-rf", "*", "a*", "../root", "/home/bob", "a/b", "alice\n", "alice ", "Alice", "älice",
     "a" * 33, "~", "$(id)", "a;b", "1000", "alice\0"],
)  # fmt: skip
def test_paths_patterns_and_options_are_no_names(name: str) -> None:
    """Only what useradd would take is a name; nothing is looked up for anything else."""
    assert objection(replace(TARGET, username=name)) is Code.BAD_ACCOUNT_NAME


@given(st.text(max_size=40))
def test_whatever_passes_as_a_name_is_harmless(name: str) -> None:
    """No text with a slash, a dot, a blank, a leading dash or a control character gets through."""
    passed = objection(replace(TARGET, username=name), None) is Code.UNKNOWN_ACCOUNT
    if passed:
        assert name.isascii()
        assert not set(name) & set("/.*? \n\t\0$`\\")
        assert not name.startswith("-")


@pytest.mark.parametrize("uid", [0, 1, 999, 65534, 60001, 2**32 - 1])
def test_system_ids_are_out_of_reach(uid: int) -> None:
    """Root, system accounts, nobody and everything above the range are protected, even with a record."""
    assert objection(replace(TARGET, uid=uid), replace(TENANT, uid=uid)) is Code.PROTECTED_ACCOUNT


@pytest.mark.parametrize("name", ["root", "nobody", "rackproof", "carol"])
def test_protected_names_are_out_of_reach(name: str) -> None:
    """Ours, the system's and the policy's."""
    target, tenant = replace(TARGET, username=name), replace(TENANT, name=name)
    assert objection(target, tenant, Policy(protected=("carol",))) is Code.PROTECTED_ACCOUNT


def test_an_account_without_a_record_is_unknown() -> None:
    """An ordinary user of the provider's was never made for a tenant."""
    assert objection(Target(username="bob", uid=1006, generation="g1"), None) is Code.UNKNOWN_ACCOUNT


def test_an_order_for_an_earlier_holder_is_stale() -> None:
    """The name and uid fit, the generation does not."""
    assert objection(replace(TARGET, generation="g0")) is Code.STALE_ACCOUNT


@pytest.mark.parametrize(
    "row",
    [replace(ROW, uid=1007), replace(ROW, gid=1), replace(ROW, home="/home/bob2"), replace(ROW, home="/home/alice/")],
)
def test_a_row_that_differs_from_the_record_stops_it(row: Account) -> None:
    """Uid, gid and home must be those of the grant."""
    assert objection(accounts=(ROOT, row, BOB)) is Code.ACCOUNT_MISMATCH


def test_a_uid_the_order_does_not_name_stops_it() -> None:
    """Order and record must agree."""
    assert objection(replace(TARGET, uid=1006)) is Code.ACCOUNT_MISMATCH


def test_a_name_that_stands_twice_stops_it() -> None:
    """Nobody can say which row is meant."""
    assert objection(accounts=(ROOT, ROW, ROW)) is Code.ACCOUNT_MISMATCH


@pytest.mark.parametrize("others", [(ROW, replace(BOB, uid=1005)), (replace(BOB, uid=1005),)])
def test_a_uid_of_two_accounts_stops_it(others: tuple[Account, ...]) -> None:
    """Also when the tenant's own row is gone and somebody else got the uid."""
    assert objection(accounts=(ROOT, *others)) is Code.SHARED_UID


@pytest.mark.parametrize(
    "found",
    [
        {"accounts": (ROOT, ROW, replace(BOB, uid=100_001))},
        {"id_ranges": (*TENANT.subordinate, IdRange("bob", 165_535, 10))},
        {"id_ranges": (IdRange("alice", 60_000, 65_536),)},
        {"id_ranges": (IdRange("1005", 0, 10),)},
    ],
)
def test_subordinate_ids_of_others_stop_it(found: dict[str, Any]) -> None:
    """What those ids own would be taken for the tenant's."""
    assert objection(**found) is Code.SHARED_UID


@pytest.mark.parametrize(
    "home",
    [
        Home(kind="link"),
        Home(kind="other"),
        Home(kind="mount"),
        Home(kind="directory", owner=1006, mode=0o755),
        Home(kind="directory", owner=0, mode=0o700),
        Home(kind="directory", owner=1005, mode=0o755, parent_safe=False),
    ],
)
def test_a_home_that_may_not_be_the_tenants_stops_it(home: Home) -> None:
    """Links, mounts, foreign owners, and directories above that others can write."""
    assert objection(home=home) is Code.UNSAFE_HOME


@pytest.mark.parametrize(
    "home", ["/", "/home", "/etc", "/root", "/home/../etc", "/home//alice", "/home/a/b", "home/alice", "/srv/alice", ""]
)
def test_a_home_outside_the_home_roots_stops_it(home: str) -> None:
    """Whatever record and row say together."""
    tenant, row = replace(TENANT, home=home), replace(ROW, home=home)
    assert objection(tenant=tenant, accounts=(ROOT, row, BOB)) is Code.UNSAFE_HOME


@pytest.mark.parametrize("home", ["/home/alice", "/home/alice/", "/home/alice/sub", "/home/bob/../alice/x"])
def test_a_home_that_holds_anothers_home_stops_it(home: str) -> None:
    """Equal or containing."""
    assert objection(accounts=(ROOT, ROW, replace(BOB, home=home))) is Code.UNSAFE_HOME


def test_only_a_wipe_that_began_finds_a_home_taken_over() -> None:
    """Root's and closed to others: what our own first attempt leaves."""
    taken = Home(kind="directory", owner=0, mode=0o700)
    assert objection(home=taken, touched=True) is None
    assert objection(home=replace(taken, mode=0o755), touched=True) is Code.UNSAFE_HOME


def test_a_gone_account_with_a_free_uid_may_be_cleaned_up() -> None:
    """The record outlives the row; nobody else has the uid."""
    assert objection(accounts=(ROOT, BOB), home=Home(kind="missing")) is None


@given(st.sets(st.integers(1000, 1100)), st.sets(st.integers(1000, 1100)))
def test_a_uid_is_never_given_twice(taken: set[int], used: set[int]) -> None:
    """Neither one that is in use nor one that was ever a tenant's; nor any below them."""
    accounts = [Account(f"u{uid}", uid, uid, "/") for uid in taken]
    uid = free_uid(Policy(), accounts, used, ())
    assert 1000 <= uid <= 60000
    assert all(uid > one for one in taken | used)


def test_no_uid_left_is_a_failure() -> None:
    """The range ends; nothing is reused then."""
    with pytest.raises(Trouble) as caught:
        free_uid(Policy(uid_max=1000), (), {1000}, ())
    assert caught.value.code is Code.ACCOUNT_FAILED


@pytest.mark.parametrize("text", ["alice:x:1", "alice:x:-1:1::/:/", "a:x:0x10:1::/:/", "a:x:\u0661:1::/:/"])
def test_a_password_file_that_cannot_be_read_stops_everything(text: str) -> None:
    """A row nobody understands may be anybody's."""
    with pytest.raises(Trouble):
        read_accounts(text)
