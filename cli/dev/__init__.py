"""`kubebraid dev-cluster`: a whole cluster on one machine, a process a role, kept running."""
