"""The coordinator role: the tablet map, owner epochs, the compaction floor, the sequencer."""
