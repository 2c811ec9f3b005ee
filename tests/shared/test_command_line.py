"""How both command lines end."""

import click
import pytest
import structlog
from click.testing import CliRunner

from shared.codes import Code, Trouble
from shared.command_line import TRACEBACK, Commands, Exit, exit_code


@pytest.fixture
def program():
    """A program whose commands end in different ways, before any of them has begun to log."""
    structlog.reset_defaults()

    @click.group("prog", cls=Commands)
    def group():
        pass

    @group.command()
    def refuse():
        raise Trouble(Code.PORT_IN_USE, "127.0.0.1:80", "name another")

    @group.command()
    def crash():
        raise ZeroDivisionError("two\nlines")

    @group.command()
    def lack():
        import no_such_library  # noqa: F401, PLC0415

    return group


def test_trouble_is_one_line_its_remedy_and_its_exit_code(program):
    """The code stands where a script can find it."""
    done = CliRunner().invoke(program, ["refuse"])
    assert (done.exit_code, done.stderr) == (75, "prog: port_in_use: 127.0.0.1:80\n  name another\n")


def test_the_unforeseen_is_one_line_too(program):
    """No traceback for a user; one for whoever asks."""
    done = CliRunner().invoke(program, ["crash"])
    assert done.exit_code == Exit.INTERNAL == 70
    assert done.stderr.splitlines()[0] == "prog: internal: ZeroDivisionError: two lines"
    asked = CliRunner(env={TRACEBACK: "1"}).invoke(program, ["crash"])
    assert isinstance(asked.exception, ZeroDivisionError)


def test_a_library_that_is_missing_is_named(program):
    """With what to install; the collector's libraries are an extra."""
    done = CliRunner().invoke(program, ["lack"])
    assert done.exit_code == Exit.CONFIGURATION == 78
    assert done.stderr.startswith("prog: not_installed: no_such_library is missing\n  for the collector: pip install")


def test_a_wrong_command_is_a_usage_error(program):
    """As for any other program."""
    assert CliRunner().invoke(program, ["nonsense"]).exit_code == Exit.USAGE == 2


def test_every_code_has_an_exit_code():
    """None of them is success."""
    assert all(exit_code(code) > 0 for code in Code)
