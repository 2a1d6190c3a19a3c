"""Settings that all tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# A busy machine may pause any example: time is bounded a test by pytest-timeout, not an example.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# Models that whoever runs the tests has fetched are not the tests' business.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="echoic-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
