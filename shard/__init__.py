"""The shard role: owns tablets, evaluates and commits their writes, keeps their history."""
