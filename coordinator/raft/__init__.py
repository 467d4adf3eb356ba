"""A replicated log behind a small interface; the only folder that knows PySyncObj.

Start at `log.py` (what it offers), then `node.py` (how it is driven), then `core.py` (PySyncObj and
its hooks). Nothing outside imports anything but `log`, `node`, `disk` and `chance`.
"""
