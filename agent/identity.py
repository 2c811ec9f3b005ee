"""What enrollment left on this machine: who we are and whom we obey."""

from pathlib import Path

import msgspec
from msgspec import Struct

from agent.files import write_durably
from shared.codes import Code, Trouble
from shared.documents import Trust
from shared.records import RecordId


class Pinned(Struct, frozen=True, kw_only=True):
    """The answer of the enrollment, pinned: it changes only by enrolling again."""

    hardware_id: RecordId
    customer_id: RecordId
    origin: str
    trust: Trust


def load(path: Path) -> Pinned:
    """
    Read what enrollment pinned.

    Raises:
        Trouble: `not_enrolled`, `state_corrupt` or `state_unwritable`.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pinned)
    except FileNotFoundError as error:
        raise Trouble(Code.NOT_ENROLLED, f"{path} does not exist", "run: rackproof-agent enroll") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise Trouble(Code.STATE_CORRUPT, f"{path}: {error}") from error
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{path}: {error.strerror}") from error


def save(path: Path, pinned: Pinned) -> None:
    """
    Pin what the collector answered; on the disk when this returns.

    Raises:
        Trouble: `state_unwritable`.
    """
    write_durably(path, msgspec.json.format(msgspec.json.encode(pinned)) + b"\n", mode=0o644)
