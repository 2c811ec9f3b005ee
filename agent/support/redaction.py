"""
Taking out of a text what names a machine, its parts, its users and its network, and what is secret. Pure.

What is taken out is replaced by something of the same shape, the same for the same value everywhere in one bundle, so
that a recording still replays; by a key that is thrown away, so that nobody can try values out.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import Any


class Kind(StrEnum):
    """What is taken out."""

    SECRET = "keys, tokens and passwords"  # noqa: S105 - what they are called
    SERIAL = "serial numbers and ids of hardware"
    UUID = "UUIDs"
    MAC = "hardware addresses (MAC)"
    ADDRESS = "IP addresses"
    HOST = "host names"
    USER = "user names"
    PROCESS = "names of processes"
    MOUNT = "mounts that are no disk's"
    MESSAGE = "kernel messages that report nothing"


LEAST_LENGTH = 3
"""Names shorter than this are parts of too many other words."""

_HEX = "0123456789abcdef"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KEPT_ADDRESSES = frozenset({"0.0.0.0", "255.255.255.255", "::", "::1"})  # noqa: S104 - nothing is bound to them

_PATTERNS: Mapping[str, str] = {
    "pem": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "ssh": r"\b(?:(?:ssh|ecdsa)-[a-z0-9-]{1,40}|sk-[a-z0-9@.-]{1,60}) {1,9}AAAA[A-Za-z0-9+/=]+(?: [^\s\"']+)?",
    "said": r"(?i:\b(?:pass(?:word|wd|phrase)|secret|token|api_?key|credentials?)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]+",
    "token": r"\b(?:rp[a-z]_\w{8,}|eyJ[\w.-]{20,})",
    "named": r"(?i:\bserial(?:[ _-]?(?:number|no|nr))?\.?[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]+",
    "uuid": r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])",
    "short": r"\b(?:GPU|MIG)-[0-9a-f]{8}(?![0-9a-f-])",
    "guid": r"(?<![0-9A-Za-z:])(?:[0-9A-Fa-f]{4}:){3}[0-9A-Fa-f]{4}(?![0-9A-Za-z:])",
    "mac": r"(?<![0-9A-Za-z:-])(?:[0-9A-Fa-f]{2}[:-]){5,19}[0-9A-Fa-f]{2}(?![0-9A-Za-z:-])",
    "link": r"\benx[0-9a-f]{12}\b",
    "four": r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z]|\.\d)",
    "six": r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:.])",
    "wwn": r"(?<![0-9A-Za-z])(?:0x|eui\.|naa\.|nguid\.)[0-9A-Fa-f]{16,}(?![0-9A-Za-z])",
    "hex": r"(?<![0-9A-Za-z])(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{16,}(?![0-9A-Za-z])",
    "mixed": r"(?<![0-9A-Za-z+=])(?=[a-z0-9+]*[A-Z])(?=[A-Z0-9+]*[a-z])(?=[A-Za-z+]*[0-9])[A-Za-z0-9+]{32,}={0,2}",
}
"""By the name of what is found; the first that fits, in this order, takes it. Hex of digits alone is a count."""


class Redactor:
    """
    Replaces what must not leave the machine.

    Args:
        key: Random; whoever has it can tell what was replaced.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._words: dict[str, Kind] = {}
        self.taken: dict[Kind, set[str]] = {}
        self._how: Mapping[str, Callable[[str], str]] = {
            "pem": lambda _: self._note(Kind.SECRET, "private key", "[private key]"),
            "ssh": lambda found: self._note(Kind.SECRET, found, "[public key]"),
            "said": lambda found: self._after(Kind.SECRET, found, "[secret]"),
            "token": lambda found: self._note(Kind.SECRET, found, "[token]"),
            "named": lambda found: self._after(Kind.SERIAL, found, None),
            "uuid": lambda found: self._note(Kind.UUID, found, self._alike(found[:8]) + self._alike(found)[8:]),
            "short": lambda found: self._note(Kind.UUID, found, found[:4] + self._alike(found[4:])),
            "guid": lambda found: self._note(Kind.MAC, found, self._alike(found)),
            "mac": lambda found: self._note(Kind.MAC, found, self._alike(found)),
            "link": lambda found: self._note(Kind.MAC, found, "enx" + self._alike(found[3:])),
            "four": self._address,
            "six": self._address,
            "wwn": self._wwn,
            "hex": lambda found: self._note(Kind.SERIAL, found, self._alike(found)),
            "mixed": lambda found: self._note(Kind.SECRET, found, "[secret]"),
        }

    def know(self, kind: Kind, word: str) -> None:
        """Take this word out wherever it stands alone, in any case; one too short, or of few digits, is no name."""
        plain = word.strip()
        digits = plain.isdigit() and len(plain) < 8
        if len(plain) >= LEAST_LENGTH and not digits:
            self._words.setdefault(plain.lower(), kind)
            self.__dict__.pop("_found", None)

    def spare(self, words: Collection[str]) -> None:
        """Leave these words in: they are names of the kernel's or of a report's, whoever else is called so."""
        for word in words:
            self._words.pop(word.lower(), None)
        self.__dict__.pop("_found", None)

    def text(self, text: str) -> str:
        """Return a text without what names anything."""
        return self._found.sub(self._replaced, text)

    def whole(self, kind: Kind, text: str) -> str:
        """Return a text that is nothing but a name or a number, replaced; the white space about it stays."""
        plain = text.strip()
        return text.replace(plain, self._note(kind, plain, self._alike(plain))) if plain else text

    def name(self, kind: Kind, text: str) -> str:
        """Return a made-up name of a host or a user; the same as wherever else it stands."""
        return self._note(kind, text, f"{'host' if kind is Kind.HOST else 'user'}-{self._digest(text)[:6]}")

    def plain(self, value: Any) -> Any:
        """Return JSON-like data without what names anything, in its keys either."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(name)): self.plain(one) for name, one in value.items()}
            case list() | tuple():
                return [self.plain(one) for one in value]
        return value

    def left_out(self, kind: Kind, what: str) -> None:
        """Count something that was left out as a whole."""
        self._note(kind, what, "")

    @cached_property
    def _found(self) -> re.Pattern[str]:
        parts = [f"(?P<{name}>{pattern})" for name, pattern in _PATTERNS.items()]
        if self._words:
            # The longest first: a full host name before its first part.
            words = "|".join(re.escape(word) for word in sorted(self._words, key=len, reverse=True))
            parts.insert(1, rf"(?P<word>(?<![0-9A-Za-z])(?i:{words})(?![0-9A-Za-z]))")
        return re.compile("|".join(parts), re.DOTALL)

    def _replaced(self, found: re.Match[str]) -> str:
        name, text = str(found.lastgroup), found[0]
        if name != "word":
            return self._how[name](text)
        kind = self._words[text.lower()]
        if kind in {Kind.HOST, Kind.USER}:
            return self.name(kind, text)
        return self._note(kind, text, self._alike(text))

    def _after(self, kind: Kind, found: str, instead: str | None) -> str:
        """Replace what stands after a label."""
        start = re.search(r"[=:]\s*[\"']?", found)
        assert start is not None
        value = found[start.end() :]
        return found[: start.end()] + self._note(kind, value, instead if instead is not None else self._alike(value))

    def _wwn(self, found: str) -> str:
        head = found.index(".") + 1 if "." in found else 2
        return self._note(Kind.SERIAL, found, found[:head] + self._alike(found[head:]))

    def _address(self, found: str) -> str:
        """Replace an address by one kept for tests; what only looks like one stays. Source: RFC 2544, RFC 3849."""
        try:
            address = ipaddress.ip_address(found)
        except ValueError:
            return found
        if found in _KEPT_ADDRESSES or address.is_loopback:
            return found
        digest = int(self._digest(str(address))[:16], 16)
        if address.version == 4:
            instead = ipaddress.ip_address(int(ipaddress.ip_address("198.18.0.0")) + digest % 2**17)
        else:
            instead = ipaddress.ip_address(int(ipaddress.ip_address("2001:db8::")) + digest)
        return self._note(Kind.ADDRESS, found, str(instead))

    def _alike(self, text: str) -> str:
        """
        Return a pseudonym of the same shape: digits for digits, letters for letters, of hex only hex, all else kept.

        Signs between letters and digits count for nothing, as programs write the same serial number with others.
        """
        signs = re.sub(r"[^0-9a-z]", "", text.lower())
        letters = "abcdef" if set(signs) <= set(_HEX) else _LETTERS
        stream = self._stream(signs)
        out = []
        for sign in text:
            if not (sign.isascii() and sign.isalnum()):
                out.append(sign)
                continue
            number = next(stream)
            plain = str(number % 10) if sign.isdigit() else letters[number % len(letters)]
            out.append(plain.upper() if sign.isupper() else plain)
        return "".join(out)

    def _stream(self, signs: str) -> Iterator[int]:
        seed = hmac.digest(self._key, signs.encode(), "sha256")
        for number in count():
            yield from hmac.digest(seed, number.to_bytes(4, "big"), "sha256")

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.lower().encode(), hashlib.sha256).hexdigest()

    def _note(self, kind: Kind, found: str, instead: str) -> str:
        self.taken.setdefault(kind, set()).add(found)
        return instead
