"""The async client of an echoic server.

Example:
    >>> async with connect("ws://127.0.0.1:8000/api/v1/audio/stream/transcribe") as stream:
    ...     await stream.send(samples)  # float32, -1..1, mono, 16 kHz
    ...     print(await stream.commit())  # doctest: +SKIP
"""

from echoic.client.address import stream_address
from echoic.client.failure import ServerError
from echoic.client.incoming import Received
from echoic.client.opening import connect, transcribe
from echoic.client.stream import Stream

__all__ = ["Received", "ServerError", "Stream", "connect", "stream_address", "transcribe"]
