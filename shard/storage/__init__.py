"""Engines: one contract (engine.py), one contract suite, several implementations."""
