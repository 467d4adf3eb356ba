"""`kubebraid bench`: KubeBraid beside a real etcd in one run, so that the ratio means something.

What it is: `command.py` parses and prints, `runner.py` alternates the stores, `scenarios.py`
names what can be measured (`loads.py`, `storage.py` and `kube.py` say how), `servers.py` and
`drivers.py` run programs, `report.py` writes tables. What it is not: a judge; the exit code tells
whether every request was answered, whatever the figures are.

Start reading at `scenarios.py`; docs/benchmarks/README.md explains the columns.
"""
