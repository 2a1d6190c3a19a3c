"""Downloads, caches and finds model files."""
