"""Settings that all tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile

from hypothesis import settings

pytest_plugins = [
    "support.command_line",
    "support.in_memory_app",
    "support.fake_hub",
    "support.quota_stores",
]

# A busy machine may pause any example, so pytest-timeout limits tests and Hypothesis no examples.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# Tests do not use the models that the developer has downloaded.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="echoic-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# Workers have no terminal, but may inherit the size of one.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# A shell's background job ignores Ctrl-C, and so would the processes that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Remove the developer's own settings of a server; the variable that names recordings was read before."""
    for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
        del os.environ[name]
