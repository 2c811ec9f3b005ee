"""How long to wait before the next try: a pure decision."""

FIRST_S = 1.0
CAP_S = 30.0
"""Below the 90 s after which a silent machine counts as offline, so that a returning collector sees nobody missing.

Source: a back-off as long as the lease made hosts flap for 35 hours (datum-cloud/app issue 189)."""


def wait_s(failures: int, draw: float, asked_s: float = 0.0, cap_s: float = CAP_S) -> float:
    """
    Return the seconds to wait: exponential with full jitter, and never less than the collector asked for.

    Args:
        failures: Tries that failed in a row, 1 after the first failure.
        draw: A random number in [0, 1).
        asked_s: What the collector asked for (Retry-After or goodbye), 0 when nothing.
        cap_s: The longest pause.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """
    ceiling = min(cap_s, FIRST_S * 2.0 ** min(max(failures - 1, 0), 16))
    # What was asked for is spread too, or everybody who was told "60 s" returns in the same second.
    return max(draw * ceiling, asked_s * (1.0 + draw * 0.5))
