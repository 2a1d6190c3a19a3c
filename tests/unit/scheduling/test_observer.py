from __future__ import annotations

from echoic.scheduling.observer import DecodeObserver


def test_the_base_class_observes_nothing() -> None:
    observer = DecodeObserver()
    observer.on_client_removed("ann")
    observer.on_done("ann", 1, None)
    with observer.observe_batch("scripted", []) as value:
        assert value is None
