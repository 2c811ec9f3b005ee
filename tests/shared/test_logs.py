"""Logs: one line an event, and nothing secret in it."""

import io
import json
import logging

import pytest
import structlog

from shared import logs


@pytest.fixture
def out():
    """A stream that logs go to; the settings are put back afterwards."""
    stream = io.StringIO()
    logs.configure(json=True, stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_a_traceback_holds_no_values(out):
    """Where it broke and why, but not what the variables held."""

    def broken():
        token = "rps_very_secret"
        raise ValueError(f"{len(token)} characters")

    try:
        broken()
    except ValueError:
        structlog.get_logger().exception("it.broke")
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "15 characters"
    assert "broken" in line
    assert "very_secret" not in line


def test_what_a_library_says_is_one_line(out):
    """Its traceback too, and a name with line ends in it."""
    try:
        raise OSError("two\nlines \u202e")
    except OSError:
        logging.getLogger("aiohttp.server").exception("bad\nrequest")
    (line,) = out.getvalue().splitlines()
    assert line.isascii()
    assert json.loads(line)["words"] == "bad request: OSError: two lines \u202e"
