"""A shard's part in resharding: the copy of tablets, their adoption, and what is left behind."""
