"""The provider's policy narrows; keys are taken without options."""

import base64
from pathlib import Path

import pytest

from agent.wiper.policy import Policy, load, read
from agent.wiper.tenant.publickeys import bodies
from shared.codes import Code, Trouble

BODY = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
KEY = f"ssh-ed25519 {BODY}"


@pytest.mark.parametrize(
    "text",
    [
        "uid_min = 0",
        "uid_min = 999",
        "uid_max = 65534",
        "home_root = ['/home']",
        "home_roots = ['/']",
        "home_roots = ['/etc']",
        "home_roots = ['/var']",
        "home_roots = ['home']",
        "home_roots = ['/home/']",
        "home_roots = ['/home/../etc']",
        "home_roots = []",
        "kinds = ['benchmark']",
        "wipes_per_day = -1",
        "dry_run = 'no'",
        "overwrite = 'always'",
        "not toml",
    ],
)
def test_a_policy_that_widens_or_is_misspelt_is_an_error(text: str) -> None:
    """Nothing unknown is skipped, nothing of the system's can be made a tenant's."""
    with pytest.raises(Trouble) as caught:
        read(text)
    assert caught.value.code is Code.BAD_CONFIGURATION


def test_a_policy_others_could_write_is_an_error(tmp_path: Path) -> None:
    """The file decides what root does."""
    path = tmp_path / "policy.toml"
    path.write_text("dry_run = true")
    path.chmod(0o644)
    assert load(path).dry_run
    path.chmod(0o666)
    with pytest.raises(Trouble):
        load(path)
    path.chmod(0o644)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Trouble):
        load(tmp_path / "link")


def test_without_a_file_the_defaults_are_in_force(tmp_path: Path) -> None:
    """And have a digest of their own."""
    assert load(tmp_path / "none") == Policy()
    assert Policy().sha256 != Policy(dry_run=True).sha256


def test_a_key_is_kept_without_its_comment() -> None:
    """And once."""
    assert bodies([f"{KEY} me@home", KEY]) == (KEY,)


@pytest.mark.parametrize(
    "line",
    [
        "",
        f'command="sh" {KEY}',
        f"cert-authority {KEY}",
        f"{KEY}\n{KEY}",
        f"{KEY}\r",
        f"ssh-dss {BODY}",
        f"ssh-rsa {BODY}",
        f"ssh-ed25519\t{BODY}",
        "ssh-ed25519 !!!!",
        f"ssh-ed25519 {BODY[:-8]}",
        f"ssh-ed25519  {BODY}",
        f"#{KEY}",
    ],
)
def test_anything_but_a_plain_key_is_refused(line: str) -> None:
    """Options, second lines, other types and broken bodies."""
    with pytest.raises(Trouble) as caught:
        bodies([line])
    assert caught.value.code is Code.INVALID
