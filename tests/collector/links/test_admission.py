"""The join counter: a lost welcome is forgiven, a copy is caught."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.links.admission import Counters, join
from shared.codes import Code, Trouble


def test_the_first_join_begins_at_zero():
    """A new machine presents 0 and is offered 1."""
    assert join(Counters(confirmed=0, offered=0), 0) == Counters(confirmed=0, offered=1)


def test_a_lost_welcome_is_offered_again():
    """The machine still holds the confirmed counter; it gets the same offer."""
    known = Counters(confirmed=4, offered=5)
    assert join(known, 4) == known


@pytest.mark.parametrize("presented", [0, 3, 6, 7])
def test_any_other_counter_is_a_copys(presented):
    """Older ones were held before, newer ones never given."""
    with pytest.raises(Trouble) as caught:
        join(Counters(confirmed=4, offered=5), presented)
    assert caught.value.code is Code.CLONE


@given(st.lists(st.sampled_from(["arrives", "lost", "arrives, not confirmed"]), max_size=40))
def test_an_honest_machine_is_never_refused_and_its_copy_is(history):
    """Whatever welcomes are lost; and a copy made at the start fails once the original has moved on twice."""
    known, held = Counters(confirmed=0, offered=0), 0
    moved = 0
    for what in history:
        known = join(known, held)
        if what != "lost":
            held = known.offered
        if what == "arrives":
            known = Counters(confirmed=held, offered=known.offered)
            moved += 1
    if moved >= 1:
        with pytest.raises(Trouble):
            join(known, 0)
