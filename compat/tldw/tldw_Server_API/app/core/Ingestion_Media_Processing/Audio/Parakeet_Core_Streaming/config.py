"""echoic under the import path of tldw_server."""

from echoic.embed import StreamingConfig

__all__ = ["StreamingConfig"]
