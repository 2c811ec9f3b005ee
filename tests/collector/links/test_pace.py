"""How much one machine may ask: an honest agent never waits, a flood does."""

from collector.links.pace import JOINS, OUTBOX_REPORTS, REPORT_BYTES, Allowance, Paces


def test_a_full_outbox_of_the_largest_reports_comes_in_without_a_wait():
    """And so does what follows it, beat by beat."""
    pace = Paces(15.0).of("hw_1")
    assert max(pace.wait_s(REPORT_BYTES, 100.0) for _ in range(OUTBOX_REPORTS)) == 0
    assert max(pace.wait_s(REPORT_BYTES, 100.0 + 15 * beat) for beat in range(1, 1_000)) == 0


def test_a_flood_is_brought_down_to_a_few_messages_a_second():
    """Whoever waits as he is told gets through no more than that, and less of the largest."""
    for size_bytes, most in ((100, 5.0), (65_536, 0.25)):
        pace, now_s = Paces(15.0).of("hw_1"), 0.0
        for _ in range(OUTBOX_REPORTS):
            pace.wait_s(size_bytes, now_s)
        now_s += pace.wait_s(size_bytes, now_s)
        began_s = now_s
        for _ in range(1_000):
            now_s += pace.wait_s(size_bytes, now_s)
        assert 0.9 * most <= 1_000 / (now_s - began_s) <= 1.1 * most


def test_a_quick_heartbeat_has_its_room():
    """A collector that asks for a report a second gets five without a wait."""
    pace = Paces(0.1).of("hw_1")
    for number in range(5 * OUTBOX_REPORTS):
        assert pace.wait_s(1_000, number / 50) == 0


def test_a_machine_that_comes_back_has_no_more_than_before():
    """Its allowance is not the link's."""
    paces = Paces(15.0)
    assert sum(paces.of("hw_1").joins.allows(0.0) for _ in range(1_000)) == JOINS
    assert not paces.of("hw_1").joins.allows(1.0)
    assert paces.of("hw_2").joins.allows(1.0)
    assert paces.of("hw_1").joins.allows(16.0)
    assert not paces.of("hw_1").joins.allows(16.0)


def test_a_clock_that_goes_back_gives_nothing():
    """And takes nothing."""
    one = Allowance(1, 1.0)
    assert one.allows(100.0)
    assert not one.allows(50.0)
    assert one.allows(51.0)
