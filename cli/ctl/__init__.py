"""`kubebraid ctl`: what operators ask a running store, and want of it.

gRPC is kept quiet here, before anybody imports it: it would write about a router that dies into the
line that tells how far a migration is.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
