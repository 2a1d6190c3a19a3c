"""Structured log events: a name with key-value pairs, rendered as logfmt text or JSON.

All packages log by the standard library's loggers, so an application that embeds echoic keeps its own
handlers. Only ``echoic serve`` calls ``set_up_logging``: structlog renders the lines and adds the values of
the current stream. No event holds a transcript, audio or a key.
"""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Literal, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

LogValue = str | int | float | bool | None
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


def log_event(log: logging.Logger, level: int, name: str, **values: LogValue) -> None:
    """Log an event.

    Args:
        log: The logger.
        level: A level of the ``logging`` module.
        name: The event, e.g. ``stream.opened``.
        **values: The event's key-value pairs.
    """
    if log.isEnabledFor(level):
        log.log(level, name, extra={"event_values": values})


def bind_log_context(**values: LogValue) -> AbstractContextManager[None]:
    """Return a context that adds values to all events of the current task and of tasks started in it."""
    return structlog.contextvars.bound_contextvars(**values)


def format_raise_location(error: BaseException) -> str:
    """Return where an exception was raised, as ``file:line``, without its text, which may be private."""
    frames = extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"


def build_log_formatter(*, as_json: bool) -> logging.Formatter:
    """Return a formatter for records on one line: time (UTC), level, event, key-value pairs.

    Args:
        as_json: Whether a line is a JSON object instead of ``key=value`` text.
    """
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.processors.LogfmtRenderer(bool_as_flag=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars], processors=[_build_log_line, renderer]
    )


def _build_log_line(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """Return the key-value pairs of a line in their order (a structlog processor)."""
    record = cast("logging.LogRecord", event_dict["_record"])
    left_out = ("event", "exc_info", "stack_info")
    context = {key: value for key, value in event_dict.items() if key not in left_out}
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "event": event_dict["event"],
        **({} if record.name.startswith("echoic") else {"logger": record.name}),
        **{key: value for key, value in context.items() if not key.startswith("_")},
        **getattr(record, "event_values", {}),
    }
    _, error, _ = event_dict.get("exc_info") or (None, None, None)
    if error is not None:
        line |= {"kind": type(error).__name__, "at": format_raise_location(error)}
    return {key: _escape_unprintable(value) for key, value in line.items()}


def _escape_unprintable(value: object) -> object:
    """Return a value with control characters escaped, so that it cannot forge another line."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)[1:-1]
    return value


def set_up_logging(log_level: LogLevel, log_format: LogFormat) -> None:
    """Log echoic's events, and the warnings of all libraries, to the standard error.

    Uvicorn's lines below warnings are left out at every level: they hold URLs with keys in their query, and
    at debug level the messages of clients.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(build_log_formatter(as_json=log_format == "json"))
    # asyncio warns about every write to a client that has disconnected.
    own_level = log_level.upper()
    library_level = "ERROR" if own_level == "ERROR" else "WARNING"
    levels = {"": library_level, "echoic": own_level, "uvicorn": library_level, "asyncio": "ERROR"}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
    logging.captureWarnings(capture=True)
