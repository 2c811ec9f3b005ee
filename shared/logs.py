"""Logs: one line an event with a stable name; JSON for machines, colours for a person at a terminal."""

import logging
import sys
from json import dumps
from typing import TextIO

import structlog


def configure(*, json: bool | None = None, level: str = "info", stream: TextIO | None = None) -> None:
    """
    Send logs to stderr.

    Args:
        json: True for JSON lines, False for a person; None for JSON unless the stream is a terminal.
        level: The least severe level that is written: "debug", "info", "warning" or "error".
        stream: Where to; stderr when left out.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if json is None else json
    # ASCII-only JSON: a name with control or direction marks from a hostile machine stays one harmless line.
    last: structlog.types.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _traceback if as_json else _unchanged,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
    # Libraries that use the standard logger (aiohttp, apscheduler, alembic) speak up only when something is wrong.
    handler = logging.StreamHandler(out)
    handler.setFormatter(_OneLine(as_json=as_json))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


_traceback = structlog.processors.ExceptionRenderer(
    # Never the values of variables: tokens and keys are among them.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class _OneLine(logging.Formatter):
    """What a library says, in one line whatever it is; a stranger's bad request must not fill the log."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        words = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            words += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        words = " ".join(words.split())[:1000]
        level = record.levelname.lower()
        if not self._as_json:
            return f"{level} {record.name} {words}"
        said = {"event": "library.said", "logger": record.name, "level": level, "words": words}
        return dumps(said)


def _unchanged(
    _logger: structlog.types.WrappedLogger, _name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    return event
