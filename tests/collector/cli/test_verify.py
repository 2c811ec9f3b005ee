"""`rackproof verify`: what holds, what does not, and what is no certificate at all; each with its code."""

import base64
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from collector.certificates import MAX_BYTES
from collector.cli import commands
from shared.documents import Target, sign
from shared.envelope import key_id
from tests.collector.wiping import (
    AGENT,
    COLLECTOR,
    EVIDENCE,
    STRANGER,
    WIPER,
    certificate,
    digest,
    public,
    wiped,
)

MACHINE_KEY = ("--machine-key", public(WIPER).hex())
COLLECTOR_KEY = ("--collector-key", public(COLLECTOR).hex())
BOTH = (*MACHINE_KEY, *COLLECTOR_KEY)


def verify(*arguments: object):
    return CliRunner().invoke(commands, ["verify", *map(str, arguments)], prog_name="rackproof")


@pytest.fixture
def kept(tmp_path) -> Path:
    """A certificate under its name."""
    return keep(tmp_path, EVIDENCE)


def keep(folder: Path, evidence, **keys) -> Path:
    path = folder / f"{digest(evidence)}.json"
    path.write_bytes(certificate(evidence, **keys))
    return path


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (BOTH, "signed by a machine's key that you named"),
        (MACHINE_KEY, "signature NOT checked: no --collector-key was given"),
        (COLLECTOR_KEY, "for which a collector that you named vouches"),
    ],
)
def test_a_certificate_that_holds_is_printed(kept, keys, words):
    """Exit 0, and what a person wants to know: who vouches, machine, account, result, places, limits."""
    done = verify(kept, *keys)
    assert (done.exit_code, done.stderr) == (0, "")
    assert words in done.stdout
    for fact in (
        "hw_1",
        "alice, uid 1001",
        "home_directory_purge: success",
        "home clean",
        "5000 files in 2",
        EVIDENCE.limits[0],
    ):
        assert fact in done.stdout


def test_without_a_key_nobody_vouches(kept):
    """It is printed, it is said plainly what that shows, and no script takes it for proof."""
    done = verify(kept)
    assert done.exit_code == 3
    assert "NOT PROVEN: no key was given" in done.stdout
    assert json.loads(verify(kept, "--json").stdout)["trust"] == "none"


def test_json_is_one_line_a_certificate(tmp_path):
    """With the whole evidence, for programs."""
    first, second = wiped(1), wiped(2, digest(wiped(1)))
    keep(tmp_path, first)
    keep(tmp_path, second)
    done = verify(tmp_path, *BOTH, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.exit_code, len(lines)) == (0, 2)
    assert all(line["holds"] and line["signed_by"] == key_id(public(WIPER)) for line in lines)
    assert {line["evidence"]["command_id"] for line in lines} == {"cmd_1", "cmd_2"}


def test_a_missing_certificate_of_several_is_a_gap(tmp_path):
    """The directory of a machine from which one was taken."""
    links = [wiped(1)]
    for number in (2, 3):
        links.append(wiped(number, digest(links[-1])))
    for one in links:
        keep(tmp_path, one)
    assert verify(tmp_path, *BOTH).exit_code == 0
    (tmp_path / f"{digest(links[1])}.json").unlink()
    done = verify(tmp_path, *BOTH)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "chain_gap" in line
    assert digest(links[1]) in line


def resigned(document, **changes):
    """Content changed, signatures kept."""
    return {**document, **{part: {**document[part], **fields} for part, fields in changes.items()}}


def tampered(raw: bytes) -> bytes:
    """One word of the signed payload is another."""
    document = json.loads(raw)
    payload = base64.b64decode(document["evidence"]["payload"]).replace(b'"uid":1001', b'"uid":1002')
    return json.dumps(resigned(document, evidence={"payload": base64.b64encode(payload).decode()})).encode()


def swapped_receipt(raw: bytes) -> bytes:
    """The receipt of another wipe."""
    other = json.loads(certificate(wiped(2)))
    return json.dumps({**json.loads(raw), "receipt": other["receipt"]}).encode()


def forged_receipt(raw: bytes) -> bytes:
    """A receipt by another collector."""
    return certificate(EVIDENCE, collector=STRANGER)


def other_machine(raw: bytes) -> bytes:
    """Whole in itself, by a machine that nobody named."""
    return certificate(EVIDENCE, STRANGER)


@pytest.mark.parametrize(
    ("change", "keys", "code"),
    [
        (tampered, BOTH, "bad_signature"),
        (tampered, COLLECTOR_KEY, "bad_signature"),
        (tampered, (), "bad_signature"),
        (swapped_receipt, BOTH, "wrong_document"),
        (swapped_receipt, (), "wrong_document"),
        (forged_receipt, BOTH, "bad_signature"),
        (other_machine, MACHINE_KEY, "bad_signature"),
        (lambda raw: certificate(EVIDENCE, AGENT), BOTH, "bad_signature"),
        (lambda raw: certificate(wiped(9)), BOTH, "wrong_document"),
    ],
)
def test_what_does_not_hold_is_one_line_and_exit_1(kept, change, keys, code):
    """The code stands where a script can find it; nothing of an unproven document is shown as fact."""
    kept.write_bytes(change(kept.read_bytes()))
    done = verify(kept, *keys)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rackproof verify: {code}: {kept}: ")


def test_a_receipt_cannot_vouch_for_another_key(tmp_path):
    """Evidence by a stranger with a receipt for the machine's key: the collector never saw it."""
    whole = json.loads(certificate(EVIDENCE))
    strange = json.loads(certificate(EVIDENCE, STRANGER))
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**strange, "receipt": whole["receipt"]}))
    assert verify(path, *COLLECTOR_KEY).exit_code == 1
    # Even where the reader trusts that stranger: then the two disagree about whose machine it is.
    done = verify(path, "--machine-key", public(STRANGER).hex(), *COLLECTOR_KEY)
    assert (done.exit_code, "another key of the machine" in done.stderr) == (1, True)


def test_a_receipt_is_for_one_content_only(tmp_path):
    """Other evidence about the same order, by the same key, was never received."""
    other = json.loads(certificate(replace(EVIDENCE, os="another")))
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**other, "receipt": json.loads(certificate(EVIDENCE))["receipt"]}))
    done = verify(path, *BOTH)
    assert (done.exit_code, "the receipt is for other evidence" in done.stderr) == (1, True)


BARE = json.loads(certificate(EVIDENCE))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "malformed"),
        (b"hello", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"null", "malformed"),
        (certificate(EVIDENCE)[:-20], "malformed"),
        (b"[" * 50_000, "malformed"),
        (b'{"evidence": 1, "receipt": NaN}', "malformed"),
        (json.dumps({**BARE, "more": 1}).encode(), "malformed"),
        (certificate(EVIDENCE).replace(b'{"evidence"', b'{"receipt":{},"evidence"', 1), "malformed"),
        (json.dumps(BARE["evidence"]).encode(), "malformed"),
        (json.dumps({"evidence": BARE["receipt"], "receipt": BARE["evidence"]}).encode(), "wrong_document"),
        (b" " * (MAX_BYTES + 1), "too_large"),
    ],
)
def test_what_is_no_certificate_is_one_line_and_exit_65(tmp_path, content, code):
    """Not JSON, cut off, nested, with twice the same key, another document, or far too large."""
    path = tmp_path / "x.json"
    path.write_bytes(content)
    done = verify(path, *BOTH)
    assert done.exit_code == 65
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rackproof verify: {code}: ")


def test_what_is_no_file_is_told(tmp_path):
    """Missing, too long a name, an empty directory, a pipe nobody writes to, a device."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    for path, code, exit_code in (
        (tmp_path / "none", "not_found", 66),
        ("x" * 5000, "not_found", 66),
        (tmp_path / "empty", "wrong_document", 65),
        (tmp_path / "pipe", "wrong_document", 65),
        ("/dev/zero", "wrong_document", 65),
    ):
        done = verify(path, *BOTH)
        assert done.exit_code == exit_code, path
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"rackproof verify: {code}: ")


def test_one_bad_file_does_not_hide_the_others(tmp_path):
    """Each is told; what does not hold outweighs what is no certificate."""
    good, bad = keep(tmp_path, wiped(1)), tmp_path / "junk.json"
    bad.write_text("junk")
    done = verify(good, bad, tmp_path / "none", *BOTH)
    assert done.exit_code == 65
    assert "home_directory_purge: success" in done.stdout
    assert len(done.stderr.splitlines()) == 2
    wrong = tmp_path / "wrong.json"
    wrong.write_bytes(tampered(good.read_bytes()))
    assert verify(tmp_path, *BOTH).exit_code == 1


@pytest.mark.parametrize(
    ("given", "code"),
    [("zz", "not_found"), ("00" * 32, "weak_key"), ("ab" * 31, "not_found"), ("0" * 63 + "g", "not_found")],
)
def test_what_is_no_key_is_told(kept, given, code):
    """Neither digits nor a file, or a key with which anyone could sign."""
    done = verify(kept, "--machine-key", given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rackproof verify: {code}: ")


def test_keys_may_stand_in_a_file(kept, tmp_path):
    """One a line, with words after it; another machine's beside the right one does no harm."""
    keys = tmp_path / "keys"
    keys.write_text(f"# wipers\n{public(STRANGER).hex()} hw_2\n\n{public(WIPER).hex()} hw_1\n")
    assert verify(kept, "--machine-key", keys).exit_code == 0
    for content in ("", "not hex\n", "\u00e9\n"):
        keys.write_text(content)
        done = verify(kept, "--machine-key", keys)
        assert (done.exit_code, done.stderr.split(":")[1].strip()) == (2, "invalid")


def test_hostile_text_does_not_steer_the_terminal(tmp_path):
    """Escapes, line ends and turned writing are shown as what they are."""
    name = "\x1b[2Jal\u202eice\nmethod     home: success"
    path = keep(tmp_path, replace(EVIDENCE, target=Target(username=name, uid=1, generation="g"), os=name))
    done = verify(path, *BOTH)
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert r"\x1b[2Jal\u202eice\nmethod" in done.stdout
    assert done.stdout.count("\n    method") == done.stdout.count("\n  method     home: success") == 0


def test_a_signature_by_an_unknown_scheme_of_keys_is_refused(tmp_path):
    """An envelope whose signature names the right key but is not by it."""
    document = json.loads(certificate(EVIDENCE))
    other = sign(EVIDENCE, STRANGER).signatures[0].sig
    document["evidence"]["signatures"][0]["sig"] = base64.b64encode(other).decode()
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    for keys in (BOTH, COLLECTOR_KEY, ()):
        done = verify(path, *keys)
        assert (done.exit_code, "bad_signature" in done.stderr) == (1, True)
