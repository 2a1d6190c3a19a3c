"""Events in the log: a name, keys and values, as text or JSON; never what was said, heard, or a key."""

from __future__ import annotations

import json
import logging
from time import gmtime
from traceback import extract_tb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoic.server.settings import Settings

Value = str | int | float | bool | None


def event(log: logging.Logger, level: int, name: str, **values: Value) -> None:
    """Log an event.

    Args:
        log: Where to.
        level: Of the logging module.
        name: What happened, e.g. ``stream.opened``.
        **values: About it.
    """
    if log.isEnabledFor(level):
        log.log(level, name, extra={"event_values": values})


def place_of(error: BaseException) -> str:
    """Return where an exception was raised, as ``file:line``; its text may be private and stays out."""
    frames = extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"


class EventFormatter(logging.Formatter):
    """Writes a record on one line: time (UTC), level, event, keys and values.

    Args:
        as_json: A JSON object, else ``key=value`` text.
    """

    converter = staticmethod(gmtime)

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``."""
        line: dict[str, Value] = {
            "time": f"{self.formatTime(record, self.datefmt)}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "event_values", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line |= {"kind": type(record.exc_info[1]).__name__, "at": place_of(record.exc_info[1])}
        if self._as_json:
            return json.dumps(line, ensure_ascii=False)
        return " ".join(f"{key}={_quoted(value)}" for key, value in line.items())


def _quoted(value: Value) -> str:
    text = "" if value is None else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' ="\n') else text


def set_up_logging(settings: Settings) -> None:
    """Send our events, and the warnings of the web server below us, to the standard error.

    The web server's own lines below that are left out: they name the query, in which there may be a key.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter(as_json=settings.log_format == "json"))
    # asyncio warns of every write to a client that is gone, which is nothing to act on.
    levels = {"echoic": settings.log_level.upper(), "uvicorn": "WARNING", "asyncio": "ERROR"}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
