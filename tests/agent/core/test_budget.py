"""What a month's bandwidth measurements may cost."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.budget import Spent, left_bytes, load, save
from shared.codes import Code, Trouble

NOVEMBER, DECEMBER = datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@given(st.lists(st.integers(0, 10**11), max_size=20), st.integers(0, 1000))
def test_what_is_left_and_what_is_spent_make_the_budget(moved, budget_gb):
    """Never below nothing."""
    spent = Spent()
    for one in moved:
        spent = spent.plus(one, NOVEMBER)
    assert left_bytes(spent, budget_gb, NOVEMBER) == max(0, budget_gb * 10**9 - sum(moved))


def test_a_new_month_begins_with_the_whole_budget():
    """And the old month's bytes are not carried over."""
    spent = Spent().plus(150 * 10**9, NOVEMBER)
    assert left_bytes(spent, 200, NOVEMBER) == 50 * 10**9
    assert left_bytes(spent, 200, DECEMBER) == 200 * 10**9
    assert spent.plus(10**9, DECEMBER) == Spent("2026-12", 10**9)


def test_it_is_kept(tmp_path):
    """A first start has spent nothing; a later one knows."""
    path = tmp_path / "network.json"
    assert load(path) == Spent()
    save(path, Spent("2026-11", 7))
    assert path.read_text() == '{"month":"2026-11","moved_bytes":7}\n'
    assert load(path) == Spent("2026-11", 7)


@pytest.mark.parametrize("content", ["", "{", '{"month":"x"}', '{"month":"2026-11","moved_bytes":-1}', "\udcff"])
def test_what_cannot_be_read_is_told_and_is_not_a_full_budget(tmp_path, content):
    """With what to do about it."""
    path = tmp_path / "network.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(Trouble) as told:
        load(path)
    assert (told.value.code, "remove" in told.value.remedy) == (Code.STATE_CORRUPT, True)
