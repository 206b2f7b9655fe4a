"""Damages files and looks at what becomes of reading them: `tools/fuzz.py`."""
