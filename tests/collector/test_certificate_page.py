"""The page people print: it says what happened, in the words of the status, and never more."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.certificate_page import STYLE_SHA256, page
from collector.certificates import examine, parse
from shared.documents import Medium, MethodResult
from shared.records import WipeMethod, WipeStatus
from tests.collector.wiping import COLLECTOR, EVIDENCE, WIPER, certificate, public, wiped

TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "bdi", "ul", "li"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}


class Read(HTMLParser):
    """The page as a browser understands it: its tags, its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.style = ""
        self.text = ""
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= set(attrs)
        self._in_style = tag == "style"

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        if self._in_style:
            self.style += data
        else:
            self.text += data


def shown(evidence, *, chain_gap: bool = False) -> Read:
    found = examine(parse(certificate(evidence)), [public(WIPER)], [public(COLLECTOR)])
    return Read(page(found, chain_gap=chain_gap))


def with_status(*statuses: WipeStatus):
    methods = zip(WipeMethod, statuses, strict=False)
    return replace(EVIDENCE, methods=tuple(MethodResult(method=one, status=status) for one, status in methods))


@pytest.mark.parametrize(
    ("statuses", "heading", "words"),
    [
        ((WipeStatus.SUCCESS, WipeStatus.SUCCESS), "Certificate of data wipe", "Success:"),
        ((WipeStatus.SUCCESS, WipeStatus.PARTIAL), "Record of an incomplete data wipe", "Partial:"),
        ((WipeStatus.PARTIAL, WipeStatus.FAILED), "Record of an incomplete data wipe", "Failed:"),
        ((), "Record of an incomplete data wipe", "This is not a certificate"),
    ],
)
def test_only_a_whole_success_is_called_a_certificate(statuses, heading, words):
    """The worst method gives the page its name."""
    text = shown(with_status(*statuses)).text
    assert text.startswith(heading) or heading in text[:200]
    assert words in text


def test_the_page_has_what_people_look_for():
    """Machine, account, order, who, when, methods, verification, digest, both signers, limits."""
    medium = Medium(file_system="ext4", device="8:1", name="sda1", model="Disk 1", rotational=False, discard=True)
    text = shown(replace(EVIDENCE, media=(medium,), reimage_recommended=True), chain_gap=True).text
    for words in (
        *("hw_1", "alice (uid 1001)", "platform shop", "cmd_1", "2026-05-01 12:00:05 UTC", "Home directory purge"),
        *("5000 in 2 file systems", "1 nfs4: another machine's", "sda1 (8:1)", "Disk 1", "unlinked", "unknown"),
        *("installing it anew is recommended", "before this one is missing", EVIDENCE.limits[0]),
        *("first of this machine", "the signature was checked"),
    ):
        assert words in text, words


def test_the_page_claims_no_level_of_a_standard():
    """What only an erase of the medium may be called is not said of a removal by the operating system."""
    text = shown(EVIDENCE).text.lower()
    assert not re.search(r"800-88|\bclear(ed)?\b|\bpurged\b|cryptographic|dod 5220", text)


def test_the_policy_names_this_very_style_sheet():
    """The digest in the header is that of what stands in the page."""
    style = shown(EVIDENCE).style
    assert f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}" == STYLE_SHA256
    assert "@media print" in style


@settings(max_examples=60)
@example("<script>")
@example("<b x='1'>&lt;i&gt;")
@given(st.text(st.sampled_from("<>&\"'=/ abx") | st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_no_text_becomes_markup(words):
    """Whatever a field holds, the page has the same tags and attributes; nothing invisible is left in it."""
    plain = shown(EVIDENCE)
    found = shown(
        replace(EVIDENCE, os=words, requested_by=words, kernel=words, findings=(words,), limits=(words,)),
    )
    assert found.tags == plain.tags <= TAGS
    assert found.attributes == plain.attributes
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff\x00-\x09\x0b-\x1f\x7f]", found.text)


def test_a_simulated_machine_is_called_one():
    """In the heading itself."""
    assert "(simulated machine)" in shown(wiped(1, simulated=True)).text
