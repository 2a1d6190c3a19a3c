"""How long a test waits for what is sure to come."""

from __future__ import annotations

from typing import Final

#: Seconds; a machine that does much else may need them. Nothing is ever waited for until they are over.
WAIT_SECONDS: Final = 60.0
