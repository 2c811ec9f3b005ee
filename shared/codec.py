"""Link frames to messages and back: strict, bounded, and with one error type."""

import msgspec

from shared.codes import Code, Trouble
from shared.messages import MAX_MESSAGE_BYTES, Message


class _Kind(msgspec.Struct):
    """The one field that every message has."""

    type: str


_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()
_kind = msgspec.json.Decoder(_Kind)


def decode(frame: bytes | str) -> Message:
    """
    Turn one text frame into a message.

    Args:
        frame: JSON text of at most 64 KiB.

    Raises:
        Trouble: `too_large`, `malformed` or `unknown_message`; never another exception, whatever the bytes.
    """
    try:
        raw = frame.encode() if isinstance(frame, str) else frame
    except UnicodeEncodeError as error:
        raise Trouble(Code.MALFORMED, "not UTF-8") from error
    if len(raw) > MAX_MESSAGE_BYTES:
        raise Trouble(Code.TOO_LARGE, f"{len(raw)} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        return _decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        raise _refusal(raw, error) from error


def encode(message: Message) -> bytes:
    """
    Turn a message into one text frame.

    Raises:
        Trouble: `too_large`: it would not be accepted at the other end.
    """
    raw = _encoder.encode(message)
    if len(raw) > MAX_MESSAGE_BYTES:
        raise Trouble(Code.TOO_LARGE, f"{len(raw)} bytes, at most {MAX_MESSAGE_BYTES}")
    return raw


def _refusal(raw: bytes, error: Exception) -> Trouble:
    """Tell an unknown type, named in the error, from a malformed message."""
    words = " ".join(str(error).split())[:200]
    try:
        kind = _kind.decode(raw).type
    except (ValueError, RecursionError):
        return Trouble(Code.MALFORMED, words)
    if "Invalid value" in words and words.endswith("`$.type`"):
        return Trouble(Code.UNKNOWN_MESSAGE, f"unknown message type {kind[:40]!r}")
    return Trouble(Code.MALFORMED, f"{kind[:40]!r}: {words}")
