"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine may pause any example: time is bounded a test by pytest-timeout, not an example.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
