"""A server whose engine goes wrong by what it hears."""

from __future__ import annotations

#: A program for ``ServerProcess``. Its model ``scripted``
#:
#: - fails at "quebec", and takes its thread down at "yankee";
#: - hangs at "xray", and at the first "whiskey";
#: - fails whatever it is given after "zulu", until it is loaded anew;
#: - takes the process down at "victor", unless the file FAULTY_ONCE is there, which it makes.
#:
#: The model ``steady`` does none of it.
FAULTY_PROGRAM = """
import os, threading
from pathlib import Path
from echoic.engines.registry import Registry, ModelSpec
from echoic.engines.scripted import ScriptedEngine
from echoic.server.process import serve
from echoic.server.settings.load import load_settings

hung = []

def fail():
    raise RuntimeError("as the test wishes")

def hang():
    threading.Event().wait()

def hang_once():
    if not hung:
        hung.append(True)
        hang()

def exit_thread():
    raise SystemExit("as the test wishes")

def crash():
    once = Path(os.environ["FAULTY_ONCE"])
    if not once.exists():
        once.touch()
        os.abort()

class Faulty(ScriptedEngine):
    def __init__(self):
        hooks = {"quebec": fail, "xray": hang, "whiskey": hang_once, "yankee": exit_thread, "victor": crash}
        super().__init__(word_hooks={**hooks, "zulu": self.sicken})
        self.sick = False

    def sicken(self):
        self.sick = True

    def decode(self, windows):
        if self.sick:
            fail()
        return super().decode(windows)

seats = [
    ModelSpec("scripted", "scripted", "standard", lambda: None, Faulty),
    ModelSpec("steady", "steady", "standard", lambda: None, ScriptedEngine),
]
serve(load_settings(None, os.environ), Registry(seats, "scripted"))
"""
