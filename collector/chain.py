"""A machine's certificates as a chain, in which a missing or a doubled one shows. Pure."""

from collections.abc import Collection

from msgspec import Struct


class Link(Struct, frozen=True, kw_only=True):
    """
    One certificate's place in its chain.

    `signed_by`: id of the wiper's key; a machine that was installed anew has another key and begins another chain.
    `previous`: the digest it names, None for the first.
    """

    digest: str
    hardware_id: str
    signed_by: str
    previous: str | None


def gap(link: Link, others: Collection[Link]) -> str | None:
    """
    Return what is wrong about a certificate's place among the others of its machine and key, in words, or None.

    Two that name the same predecessor mean that the wiper's journal was set back to an older state, or that somebody
    else has its key. The order in which they came does not matter: an answer that had to wait is no gap once it is
    here.
    """
    chain = [one for one in others if (one.hardware_id, one.signed_by) == (link.hardware_id, link.signed_by)]
    if any(one.previous == link.previous and one.digest != link.digest for one in chain):
        named = link.previous or "no certificate"
        return f"another certificate of this machine follows {named} too"
    if link.previous is not None and all(one.digest != link.previous for one in chain):
        return f"the certificate before it, {link.previous}, is missing"
    return None
