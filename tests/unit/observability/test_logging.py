"""Formatters of the log."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest

from echoic.observability.logging import bind_log_context, build_log_formatter, log_event

if TYPE_CHECKING:
    from collections.abc import Iterator


KEY = "hush-4417-keep-it"


class CapturedLog:
    """A logger whose lines are kept."""

    def __init__(self) -> None:
        self.lines = io.StringIO()
        self.handler = logging.StreamHandler(self.lines)
        self.log = logging.getLogger("echoic.tests.log")
        self.log.setLevel(logging.DEBUG)
        self.log.addHandler(self.handler)

    def set_format(self, *, as_json: bool) -> None:
        self.handler.setFormatter(build_log_formatter(as_json=as_json))

    @property
    def last(self) -> str:
        return self.lines.getvalue().splitlines()[-1]


@pytest.fixture
def written() -> Iterator[CapturedLog]:
    captured = CapturedLog()
    yield captured
    captured.log.removeHandler(captured.handler)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_is_time_level_event_context_and_values(written: CapturedLog, *, as_json: bool) -> None:
    written.set_format(as_json=as_json)
    with bind_log_context(stream="s1"):
        log_event(written.log, logging.INFO, "it.happened", who="a b", count=2, left=None)
    if as_json:
        line = json.loads(written.last)
        assert list(line) == ["time", "level", "event", "stream", "who", "count", "left"]
        assert line["who"] == "a b"
    else:
        assert written.last.endswith('Z level=info event=it.happened stream=s1 who="a b" count=2 left=')


@pytest.mark.parametrize("as_json", [True, False])
def test_a_value_cannot_forge_a_line(written: CapturedLog, *, as_json: bool) -> None:
    written.set_format(as_json=as_json)
    log_event(written.log, logging.INFO, "it.happened", who='x\r\nlevel=error "event"=\x1b[31m\u2028')
    assert len(written.lines.getvalue().splitlines()) == 1
    assert "\x1b" not in written.lines.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_logged_without_its_text(written: CapturedLog, *, as_json: bool) -> None:
    written.set_format(as_json=as_json)
    try:
        int(KEY)
    except ValueError:
        written.log.exception("it.broke")
    assert "ValueError" in written.last
    assert "test_logging.py:" in written.last
    assert KEY not in written.lines.getvalue()
