"""KubeBraid: a multi-master, sharded metadata service that speaks the etcd v3 API."""

from typing import Final

VERSION: Final = "0.1.0"
ETCD_VERSION: Final = "3.7.3"
