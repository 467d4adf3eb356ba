"""Authenticated messages between our processes, over TCP: see README.md in this folder."""
