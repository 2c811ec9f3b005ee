"""Which orders are taken: signed for this machine, fresh, in turn, and allowed."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.wiper.history import History, Known
from agent.wiper.orders import Answer, Proceed, Refuse, Resume, Verdict, judge, verified
from agent.wiper.policy import Policy
from shared.codes import Code, Trouble
from shared.documents import (
    BenchmarkName,
    BenchmarkWork,
    GrantWork,
    Order,
    RevokeWork,
    Target,
    Trust,
    WipeWork,
    Work,
    sign,
)
from shared.messages import Command
from shared.records import WipeMethod
from tests.agent.wiper.harness import ENVELOPE

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WIPE = WipeWork(target=Target(username="alice", uid=1005, generation="g"), methods=(WipeMethod.HOME_DIRECTORY_PURGE,))
GRANT = GrantWork(username="alice")
REVOKE = RevokeWork(target=WIPE.target)
NOTHING = History({}, {}, frozenset(), -1, None, (), frozenset(), {}, {})


def order(
    work: Work = WIPE, *, seq: int = 5, issued: timedelta = timedelta(), lasts: timedelta = timedelta(hours=1)
) -> Order:
    at = NOW + issued
    return Order(aud="hw_1", command_id="c1", seq=seq, work=work, issued_at=at, expires_at=at + lasts, requested_by="x")


def verdict(one: Order, past: History = NOTHING, policy: Policy | None = None, sha256: str = "d1") -> Verdict:
    return judge(one, sha256, past, policy or Policy(), NOW)


def code(given: Verdict) -> Code | None:
    return given.code if isinstance(given, Refuse) else None


def test_a_fresh_order_proceeds() -> None:
    """Nothing speaks against it."""
    assert verdict(order()) == Proceed()


def test_an_expired_order_is_refused() -> None:
    """At its last moment already."""
    assert code(verdict(order(issued=-timedelta(hours=1)))) is Code.EXPIRED


@pytest.mark.parametrize("ahead", [timedelta(minutes=5, seconds=1), timedelta(days=400)])
def test_an_order_from_the_future_stops_wipes_but_not_grants(ahead: timedelta) -> None:
    """The clock is behind, so expiry means nothing: nothing is destroyed on it."""
    assert code(verdict(order(issued=ahead))) is Code.CLOCK_UNTRUSTED
    assert code(verdict(order(REVOKE, issued=ahead))) is Code.CLOCK_UNTRUSTED
    assert verdict(order(GRANT, issued=ahead)) == Proceed()


def test_five_minutes_of_difference_are_accepted() -> None:
    """Clocks differ a little."""
    assert verdict(order(issued=timedelta(minutes=5))) == Proceed()


def test_a_clock_that_went_back_stops_wipes() -> None:
    """The journal remembers a later time."""
    past = NOTHING._replace(time_floor=NOW + timedelta(minutes=6))
    assert code(verdict(order(), past)) is Code.CLOCK_UNTRUSTED


@pytest.mark.parametrize(("seq", "expected"), [(4, Code.REPLAYED), (5, Code.REPLAYED), (6, None)])
def test_sequence_numbers_only_grow(seq: int, expected: Code | None) -> None:
    """The same or a lower number than the highest taken is a replay."""
    assert code(verdict(order(seq=seq), NOTHING._replace(highest_seq=5))) is expected


def test_a_known_command_is_answered_from_the_journal() -> None:
    """Even expired, even with an old sequence number."""
    past = NOTHING._replace(commands={"c1": Known("d1", taken=ENVELOPE, answer=b"done")}, highest_seq=9)
    assert verdict(order(lasts=timedelta()), past) == Answer(b"done")


def test_the_same_id_with_other_bytes_is_refused_and_forgotten() -> None:
    """The first order's answer stays the answer."""
    past = NOTHING._replace(commands={"c1": Known("d0", taken=ENVELOPE)})
    assert verdict(order(), past) == Refuse(Code.ID_REUSE, "c1 was another order before", final=False)


def test_a_begun_order_is_resumed_whatever_the_time() -> None:
    """Half a wipe is worse than a late one."""
    past = NOTHING._replace(commands={"c1": Known("d1", taken=ENVELOPE, touched=True)}, highest_seq=5)
    assert verdict(order(issued=-timedelta(days=9)), past) == Resume()


def test_an_order_taken_but_never_begun_expires() -> None:
    """A valid order kept back must not take effect late."""
    past = NOTHING._replace(commands={"c1": Known("d1", taken=ENVELOPE)}, highest_seq=5)
    assert code(verdict(order(issued=-timedelta(days=9)), past)) is Code.EXPIRED


@pytest.mark.parametrize(
    ("work", "policy", "expected"),
    [
        (WIPE, Policy(kinds=("access_grant",)), Code.NOT_ALLOWED),
        (GRANT, Policy(kinds=("wipe",)), Code.NOT_ALLOWED),
        (WIPE, Policy(dry_run=True), Code.NOT_ALLOWED),
        (WIPE, Policy(wipes_per_day=0), Code.NOT_ALLOWED),
        (GRANT, Policy(dry_run=True, wipes_per_day=0), None),
        (REVOKE, Policy(kinds=("access_grant", "wipe")), Code.NOT_ALLOWED),
        (REVOKE, Policy(dry_run=True), Code.NOT_ALLOWED),
        (REVOKE, Policy(wipes_per_day=0), None),
        (BenchmarkWork(components=(BenchmarkName.CPU,)), Policy(), Code.UNSUPPORTED),
        (WipeWork(target=WIPE.target, methods=tuple(WipeMethod)), Policy(), None),
    ],
)
def test_the_policy_and_this_version_only_narrow(work: Work, policy: Policy, expected: Code | None) -> None:
    """What either does not allow is refused before anything is touched."""
    assert code(verdict(order(work), policy=policy)) is expected


def test_wipes_a_day_are_counted_over_24_hours() -> None:
    """An older one does not count."""
    policy = Policy(wipes_per_day=1)
    assert code(verdict(order(), NOTHING._replace(wipes_taken_at=(NOW - timedelta(hours=23),)), policy)) is not None
    assert verdict(order(), NOTHING._replace(wipes_taken_at=(NOW - timedelta(hours=25),)), policy) == Proceed()


def test_only_the_platforms_signature_for_this_machine_and_command_counts() -> None:
    """Another signer, another machine, another command id: each has its code."""
    key, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes_raw()
    trust = Trust(collector_public_key=raw, order_public_key=raw, signing="external")
    good = Command(command_id="c1", envelope=sign(order(), key))
    assert verified(good, trust, "hw_1") == order()
    cases = [
        (Command(command_id="c1", envelope=sign(order(), stranger)), "hw_1", Code.BAD_SIGNATURE),
        (good, "hw_2", Code.WRONG_MACHINE),
        (Command(command_id="c2", envelope=good.envelope), "hw_1", Code.MALFORMED),
        (Command(command_id="c1", envelope=sign(trust, key)), "hw_1", Code.WRONG_DOCUMENT),
    ]
    for command, machine, expected in cases:
        with pytest.raises(Trouble) as caught:
            verified(command, trust, machine)
        assert caught.value.code is expected
