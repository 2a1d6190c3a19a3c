"""The wire: protocol frames and their text and binary forms."""
