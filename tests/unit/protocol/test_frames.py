"""Tests of the frames as dataclasses; test_codec.py has their JSON."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import get_args

import pytest

from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.protocol import frames
from echoic.protocol.frames import Auth, ClientFrame, Configured, Pong, Resumed, ServerFrame, Status
from echoic.session.config import Capabilities, StreamConfig
from echoic.session.rendering import build_configured


def test_every_frame_of_the_module_is_in_a_union() -> None:
    parts = {"Word", "SegmentSpeaker", "Speaker", "ActionItem", "InsightSource"}
    defined = {
        value
        for value in vars(frames).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == frames.__name__
    }
    assert {frame.__name__ for frame in defined} - parts == {
        frame.__name__ for frame in (*get_args(ClientFrame), *get_args(ServerFrame))
    }


def test_types_of_server_frames_are_unique_except_status() -> None:
    types = [
        field.default
        for frame in get_args(ServerFrame)
        for field in fields(frame)
        if field.name == "type" and frame not in (Configured, Resumed, Status)
    ]
    assert len(types) == len(set(types)) == len(get_args(ServerFrame)) - 4  # an error builds its own


def test_frames_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        Pong().type = "ping"  # type: ignore[assignment,misc]


def test_secrets_are_not_in_the_repr() -> None:
    assert "s3cret" not in repr(Auth("s3cret"))
    model = OpenedModel("small", EngineRequirements("overlap"))
    status = build_configured(StreamConfig(), model, Capabilities(), ())
    assert "s3cret" not in repr(replace(status, resume_token="s3cret"))  # noqa: S106  # made up
