"""What both command lines have in common: exit codes, and one line for every error."""

import os
from enum import IntEnum

import click

from shared.codes import Code, Trouble

TRACEBACK = "RACKPROOF_TRACEBACK"
"""Set in the environment, it lets an unforeseen error end in a traceback."""

OURS = frozenset({"agent", "collector", "shared"})
"""Packages that are never missing in a whole installation."""


class Exit(IntEnum):
    """Exit codes. Source: sysexits.h for 65 and above."""

    FINE = 0
    FOUND_A_PROBLEM = 1
    USAGE = 2
    UNVOUCHED = 3
    """Nothing is wrong, but nobody whom the caller trusts vouches for it."""
    BAD_DATA = 65
    NO_INPUT = 66
    UNREACHABLE = 69
    INTERNAL = 70
    CANNOT_CREATE = 73
    BUSY = 75
    NO_PERMISSION = 77
    CONFIGURATION = 78


_EXITS = {
    Code.COLLECTOR_UNREACHABLE: Exit.UNREACHABLE,
    Code.DATABASE_UNREACHABLE: Exit.UNREACHABLE,
    Code.STATE_UNWRITABLE: Exit.CANNOT_CREATE,
    Code.CANNOT_CREATE: Exit.CANNOT_CREATE,
    Code.STORE_UNAVAILABLE: Exit.CANNOT_CREATE,
    Code.PORT_IN_USE: Exit.BUSY,
    Code.ALREADY_RUNNING: Exit.BUSY,
    Code.BUSY: Exit.BUSY,
    Code.BOOKED: Exit.BUSY,
    Code.DATABASE_LOCKED: Exit.BUSY,
    Code.FORBIDDEN: Exit.NO_PERMISSION,
    Code.UNAUTHENTICATED: Exit.NO_PERMISSION,
    Code.NOT_ALLOWED: Exit.NO_PERMISSION,
    Code.TOKEN_UNKNOWN: Exit.NO_PERMISSION,
    Code.TOKEN_EXPIRED: Exit.NO_PERMISSION,
    Code.TOKEN_USED: Exit.NO_PERMISSION,
    Code.TOKEN_FOREIGN: Exit.NO_PERMISSION,
    Code.REVOKED: Exit.NO_PERMISSION,
    Code.BAD_CONFIGURATION: Exit.CONFIGURATION,
    Code.NOT_INSTALLED: Exit.CONFIGURATION,
    Code.NOT_ENROLLED: Exit.CONFIGURATION,
    Code.STATE_CORRUPT: Exit.CONFIGURATION,
    Code.DATABASE_MISSING: Exit.CONFIGURATION,
    Code.DATABASE_NEWER: Exit.CONFIGURATION,
    Code.DATABASE_OLDER: Exit.CONFIGURATION,
    Code.INTERNAL: Exit.INTERNAL,
}


def exit_code(code: Code) -> Exit:
    """Return the exit code that tells a script what kind of trouble it was; 1 where none is more exact."""
    return _EXITS.get(code, Exit.FOUND_A_PROBLEM)


class Commands(click.Group):
    """A click group that ends in one clear line on stderr and the documented exit code, never in a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; turn `Trouble` into its line and exit code."""
        try:
            return super().invoke(ctx)
        except Trouble as trouble:
            explain(ctx.command_path, trouble)
            ctx.exit(exit_code(trouble.code))
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in OURS:
                raise
            missing = Trouble(
                Code.NOT_INSTALLED, f"{error.name} is missing", "for the collector: pip install 'rackproof[collector]'"
            )
            explain(ctx.command_path, missing)
            ctx.exit(exit_code(missing.code))
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            # Only here: it draws in a library of tables, 5 MB that the daemon does without.
            import structlog  # noqa: PLC0415

            if structlog.is_configured():
                structlog.get_logger().exception("command.crashed", command=ctx.command_path)
            words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            explain(ctx.command_path, Trouble(Code.INTERNAL, words, f"{TRACEBACK}=1 shows where; please report it"))
            ctx.exit(Exit.INTERNAL)


def explain(program: str, trouble: Trouble) -> None:
    """Write trouble to stderr: program, code, words, and the remedy where there is one."""
    click.echo(f"{program}: {trouble.code}: {trouble.detail}", err=True)
    if trouble.remedy:
        click.echo(f"  {trouble.remedy}", err=True)
