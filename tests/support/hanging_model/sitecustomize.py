"""On the path of a program: its model ``scripted`` is loaded for ever, and no server runs here."""

import sys
import threading
from typing import NoReturn

from echoic.client import address
from echoic.engines import models


def hang() -> NoReturn:
    """Say that it is being loaded, and load it for ever."""
    sys.stderr.write("loading\n")
    while True:
        threading.Event().wait()


address.DEFAULT_SERVER = "ws://127.0.0.1:1"
models._load_scripted = hang  # noqa: SLF001  # what its seat calls
