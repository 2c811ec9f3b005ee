"""Certificates as a chain: whatever order they come in, only what is missing or doubled is a gap."""

from hypothesis import given
from hypothesis import strategies as st

from collector.chain import Link, gap


def link(digest: str, previous: str | None = None, **changes: str) -> Link:
    return Link(**({"digest": digest, "hardware_id": "hw_1", "signed_by": "k_1", "previous": previous} | changes))


CHAIN = [link("0"), *(link(str(number), str(number - 1)) for number in range(1, 8))]


@given(st.permutations(CHAIN))
def test_a_whole_chain_has_no_gap(links: list[Link]) -> None:
    """In any order, each certificate seen among the others."""
    assert [gap(one, links) for one in links] == [None] * len(links)


@given(st.integers(0, len(CHAIN) - 2))
def test_a_missing_certificate_shows_at_the_next_one(lost: int) -> None:
    """And nowhere else; the last one can be missing without a trace in the rest."""
    rest = [one for one in CHAIN if one.digest != str(lost)]
    assert [one.digest for one in rest if gap(one, rest)] == [str(lost + 1)]


@given(st.integers(0, len(CHAIN) - 1))
def test_two_certificates_after_the_same_one_are_both_in_doubt(number: int) -> None:
    """A journal that was set back, or somebody else with the key; the first certificate is no exception."""
    other = link("x", CHAIN[number].previous)
    links = [*CHAIN, other]
    assert {one.digest for one in links if gap(one, links)} == {str(number), "x"}


def test_another_key_begins_another_chain() -> None:
    """A machine that was installed anew has a new journal; other machines have their own."""
    assert gap(link("a", signed_by="k_2"), CHAIN) is None
    assert gap(link("a", hardware_id="hw_2"), CHAIN) is None
    assert "missing" in str(gap(link("a", "7", signed_by="k_2"), CHAIN))
