"""Judging tickets: whose signature, which server, and until when; that each works once is the register's to know."""

from collections.abc import Collection
from datetime import datetime, timedelta

from shared.bandwidth import same_address
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket, open_signed
from shared.envelope import Envelope

LONGEST = timedelta(days=90)
"""As long as an order may wait for its machine; a used ticket is remembered until its own time is over."""


def judge(envelope: Envelope, collector_key: bytes, origins: Collection[str], now: datetime) -> BandwidthTicket:
    """
    Return a ticket that is the collector's, for this server, and in time.

    Raises:
        Trouble: `ticket_refused`.
    """
    try:
        ticket = open_signed(envelope, BandwidthTicket, collector_key)
    except Trouble as trouble:
        raise Trouble(Code.TICKET_REFUSED, f"{trouble.code}: {trouble.detail}") from trouble
    if not any(same_address(ticket.server, one) for one in origins):
        raise Trouble(Code.TICKET_REFUSED, f"the ticket is for {ticket.server}")
    if not now < ticket.not_after:
        raise Trouble(Code.TICKET_REFUSED, "the ticket's time is over")
    if ticket.not_after > now + LONGEST:
        raise Trouble(Code.TICKET_REFUSED, f"the ticket is for more than {LONGEST.days} days")
    return ticket
