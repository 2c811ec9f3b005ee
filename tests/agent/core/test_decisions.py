"""The agent's pure decisions: back-off, and which orders it takes."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import CAP_S, wait_s
from agent.config import read_settings
from agent.enrollment import checked_origin, token_id
from agent.journal import Entry, State
from agent.link import retry_after_s
from agent.work import judge
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName, BenchmarkWork, Order, sha256_of, sign

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ORDER = Order(
    aud="hw_1",
    command_id="cmd_1",
    seq=1,
    work=BenchmarkWork(components=(BenchmarkName.CPU,)),
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    requested_by="tests",
)
ENVELOPE = sign(ORDER, Ed25519PrivateKey.from_private_bytes(b"k" * 32))
DIGEST = sha256_of(ENVELOPE)
KNOWN = Entry(
    command_id="cmd_1",
    order_sha256=DIGEST,
    seq=1,
    kind="benchmark",
    envelope=ENVELOPE,
    state=State.ACCEPTED,
    attempts=0,
    answer=None,
)


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_the_wait_stays_below_the_offline_threshold(failures, draw):
    """A returning collector finds everybody before it would call them offline."""
    assert 0 <= wait_s(failures, draw) <= CAP_S < 90


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.floats(0, 3600))
def test_what_the_collector_asks_for_is_honoured_and_spread(failures, draw, asked_s):
    """Never earlier than asked, at most half as much later or the usual wait."""
    waited = wait_s(failures, draw, asked_s)
    assert asked_s <= waited <= max(asked_s * 1.5, CAP_S)


def test_the_jitter_is_full():
    """The draw decides between nothing and the ceiling."""
    assert wait_s(5, 0.0) == 0.0
    assert wait_s(5, 0.5) == 8.0


@pytest.mark.parametrize(("header", "seconds"), [("", 0), ("5", 5), ("999999", 3600), ("-1", 0), ("soon", 0), ("٣", 0)])
def test_a_retry_after_header_is_bounded(header, seconds):
    """Nonsense is no wait, and no header keeps an agent away for days."""
    assert retry_after_s(header) == seconds


@pytest.mark.parametrize(
    ("named", "digest", "known", "machine", "now", "code"),
    [
        ("cmd_1", DIGEST, None, "hw_1", NOW, None),
        ("cmd_1", DIGEST, KNOWN, "hw_1", NOW + timedelta(days=9), None),
        ("cmd_1", DIGEST, None, "hw_2", NOW, Code.WRONG_MACHINE),
        ("cmd_2", DIGEST, None, "hw_1", NOW, Code.MALFORMED),
        ("cmd_1", "f" * 64, KNOWN, "hw_1", NOW, Code.ID_REUSE),
        ("cmd_1", DIGEST, None, "hw_1", NOW + timedelta(hours=1), Code.EXPIRED),
    ],
)
def test_which_orders_are_taken(named, digest, known, machine, now, code):
    """Ours, in time, under its own id; a known one again, however late."""
    verdict = judge(ORDER, named, digest, known, machine, now)
    assert (verdict.code if verdict else None) is code


@pytest.mark.parametrize(
    "url", ["", "collector", "ftp://x", "https://", "https://x/path", "https://x?y=1", "/etc/passwd"]
)
def test_a_collectors_address_is_an_origin(url):
    """Anything else is a configuration error with an example."""
    with pytest.raises(Trouble) as caught:
        checked_origin(url)
    assert caught.value.code is Code.BAD_CONFIGURATION


def test_an_origin_loses_its_slash():
    """So that both ends compare the same text."""
    assert checked_origin("https://c.example:8470/") == "https://c.example:8470"


@pytest.mark.parametrize("token", ["", "rpe", "rpe_1", "rps_1_2", "rpe__2", "rpe_1_2_3"])
def test_what_is_no_enrollment_token_is_not_sent_anywhere(token):
    """It is refused before any connection."""
    with pytest.raises(Trouble) as caught:
        token_id(token)
    assert caught.value.code is Code.TOKEN_UNKNOWN


def test_settings_come_from_file_environment_and_flags_in_that_order(tmp_path):
    """The later source wins."""
    file = tmp_path / "agent.toml"
    file.write_text('state_dir = "/file"\nwiper_dir = "/file"\npolicy_file = "/file"\n')
    environment = {"RACKPROOF_AGENT_WIPER_DIR": "/env", "RACKPROOF_AGENT_POLICY_FILE": "/env", "HOME": "/x"}
    found = read_settings(file, environment, {"policy_file": "/flag", "ca_file": None})
    assert (found.state_dir, found.wiper_dir, found.policy_file, found.ca_file) == ("/file", "/env", "/flag", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('state_dri = "/x"', "did you mean 'state_dir'?"),
        ("state_dir = 5", "Expected `str`"),
        ('log = "loud"', "Invalid enum value"),
        ("state_dir = ", "not TOML"),
    ],
)
def test_a_bad_setting_is_named(tmp_path, text, words):
    """An unknown key names the nearest known one."""
    file = tmp_path / "agent.toml"
    file.write_text(text)
    with pytest.raises(Trouble) as caught:
        read_settings(file, {}, {})
    assert caught.value.code is Code.BAD_CONFIGURATION
    assert words in f"{caught.value.detail} {caught.value.remedy}"
