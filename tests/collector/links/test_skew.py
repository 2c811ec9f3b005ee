"""How far a machine's clock is off."""

from datetime import UTC, datetime, timedelta

from collector.links.skew import SAMPLES, greeted, reported

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
S = timedelta(seconds=1)


def test_a_hello_is_held_against_the_middle_of_the_round_trip():
    """Half of the way was taken by the challenge."""
    assert greeted(NOW, NOW + 2 * S, NOW + 61 * S).ahead_ms == 60_000


def test_a_delayed_report_moves_nothing():
    """On its way it only grew older."""
    clock = greeted(NOW, NOW, NOW)
    for number in range(1, 7):
        clock = reported(clock, NOW + 15 * number * S, NOW + 15 * number * S - (10 if number % 2 else 0.02) * S, 0.0)
    assert clock.ahead_ms == 0


def test_a_clock_that_jumps_ahead_is_seen_at_once_and_one_that_jumps_back_after_eight_reports():
    """A report cannot be younger than it is; that it is older may be the way's fault for a while."""
    clock = reported(greeted(NOW, NOW, NOW), NOW + 15 * S, NOW + 75 * S, 0.0)
    assert clock.ahead_ms == 60_000
    for number in range(2, 2 + SAMPLES):
        clock = reported(clock, NOW + 15 * number * S, NOW + 15 * number * S - 5 * S, 0.0)
    assert clock.ahead_ms == -5_000


def test_kept_reports_do_not_turn_the_clock_back():
    """They are hours old and may take minutes to come in; their age, which is told with them, is taken off."""
    clock = greeted(NOW, NOW, NOW + 3 * S)
    for number in range(100):
        age_s = 7200.0 - 15 * number
        clock = reported(clock, NOW + number * S, NOW + (3 + number - age_s) * S, age_s)
    assert clock.ahead_ms == 3_000
