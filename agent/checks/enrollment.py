"""Enrollment: whether a collector is known, and whether the key that proves who we are is there and private."""

from pathlib import Path

from agent import identity, keys
from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from shared.codes import Code, Trouble

FRESH = "not enrolled yet; when you are ready: sudo rackproof-agent enroll --collector URL"


def judge(enrolled: identity.Pinned | Trouble, key: bool | Trouble, key_file: str) -> Finding:  # noqa: FBT001
    """
    Judge an identity.

    Args:
        enrolled: What enrollment pinned, or why it cannot be read.
        key: Whether only its owner can read the private key, or why the key cannot be read.
        key_file: Where it is.
    """
    if isinstance(enrolled, Trouble):
        if enrolled.code is Code.NOT_ENROLLED:
            return unknown(FRESH)
        if enrolled.code is Code.STATE_UNWRITABLE:
            return unknown("only root and the agent's user may look")
        return problem(
            "enrollment_unreadable", enrolled.detail, remedy="put the file back from a copy, or enroll again"
        )
    if isinstance(key, Trouble):
        if key.code is Code.STATE_UNWRITABLE:
            return unknown(f"{enrolled.hardware_id} of {enrolled.customer_id}; only root may look at the key")
        return problem(
            "key_missing",
            key.detail,
            limit="a private key that can be read back",
            remedy="put it back from a copy; without one have this machine's key revoked and enroll again",
        )
    limit = "only the agent's user can read its key"
    if not key:
        return problem("key_open", f"others can read {key_file}", limit=limit, remedy=f"chmod 600 {key_file}")
    return fine(f"{enrolled.hardware_id} of {enrolled.customer_id}", limit)


def look(scene: Scene) -> Finding:
    """Read what enrollment left; the key itself goes no further than this."""
    file = scene.settings.key_file
    try:
        enrolled: identity.Pinned | Trouble = identity.load(scene.settings.pinned_file)
    except Trouble as trouble:
        enrolled = trouble
    return judge(enrolled, _private(file), str(file))


def _private(file: Path) -> bool | Trouble:
    try:
        keys.load(file)
        return keys.owner_only(file)
    except Trouble as trouble:
        return trouble


CHECK = Check(
    name="enrollment",
    title="enrollment",
    group=Group.IDENTITY,
    look=look,
    codes={
        "enrollment_unreadable": "The agent no longer knows which collector it obeys, and does not start.",
        "key_missing": "Without its key this machine cannot prove who it is, and no collector lets it in.",
        "key_open": "Whoever reads the key can pretend to be this machine.",
    },
)
