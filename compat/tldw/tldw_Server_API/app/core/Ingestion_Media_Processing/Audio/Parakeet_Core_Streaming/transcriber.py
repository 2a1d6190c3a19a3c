"""echoic under the import path of tldw_server."""

from echoic.embed import ParakeetCoreTranscriber

__all__ = ["ParakeetCoreTranscriber"]
