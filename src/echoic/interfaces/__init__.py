"""Types that engines, detectors and diarizers share with the session."""
