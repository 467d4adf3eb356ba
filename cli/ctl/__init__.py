"""`kubebraid ctl status | shard | tablet | coordinator`: what operators ask a running store."""
