"""Events in the log: a name, keys and values, as text or JSON; never what was said, heard, or a key.

The rooms write by the standard library's loggers, so that an application which takes only the router or the
library keeps its own; structlog renders the lines of our server and knows which stream a line belongs to.
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
        log: Where to.
        level: Of the logging module.
        name: What happened, e.g. ``stream.opened``.
        **values: About it.
    """
    if log.isEnabledFor(level):
        log.log(level, name, extra={"event_values": values})


def bind_log_context(**values: LogValue) -> AbstractContextManager[None]:
    """Return a context in which all lines of this task, and of the tasks it starts, have these values too."""
    return structlog.contextvars.bound_contextvars(**values)


def format_raise_location(error: BaseException) -> str:
    """Return where an exception was raised, as ``file:line``; its text may be private and stays out."""
    frames = extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"


def build_log_formatter(*, as_json: bool) -> logging.Formatter:
    """Return what writes a record on one line: time (UTC), level, event, keys and values.

    Args:
        as_json: A JSON object, else ``key=value`` text.
    """
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.processors.LogfmtRenderer(bool_as_flag=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars], processors=[_build_log_line, renderer]
    )


def _build_log_line(_: WrappedLogger, __: str, found: EventDict) -> EventDict:
    """Return what stands on a line, in its order, of what the formatter found."""
    record = cast("logging.LogRecord", found["_record"])
    context = {key: value for key, value in found.items() if key not in ("event", "exc_info", "stack_info")}
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "event": found["event"],
        **({} if record.name.startswith("echoic") else {"logger": record.name}),
        **{key: value for key, value in context.items() if not key.startswith("_")},
        **getattr(record, "event_values", {}),
    }
    _, error, _ = found.get("exc_info") or (None, None, None)
    if error is not None:
        line |= {"kind": type(error).__name__, "at": format_raise_location(error)}
    return {key: _escape_unprintable(value) for key, value in line.items()}


def _escape_unprintable(value: object) -> object:
    """Return a value that cannot forge another line."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)[1:-1]
    return value


def set_up_logging(log_level: LogLevel, log_format: LogFormat) -> None:
    """Send our events, and the warnings of all libraries below us, to the standard error.

    The web server's own lines below that are left out: they name the query, in which there may be a key, and
    at the lowest level they hold the messages themselves.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(build_log_formatter(as_json=log_format == "json"))
    # asyncio warns of every write to a client that is gone, which is nothing to act on.
    own = log_level.upper()
    others = "ERROR" if own == "ERROR" else "WARNING"
    for name, level in {"": others, "echoic": own, "uvicorn": others, "asyncio": "ERROR"}.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
    logging.captureWarnings(capture=True)
