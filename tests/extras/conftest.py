"""What the suites of the extras share: nothing is ever fetched."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
