"""Why a connection in TLS to PD does not come about, in words.

What it is: one handshake with each PD by Python's own TLS, whose errors say what is wrong; the
client says only that PD did not answer. What it is not: a connection that is used.

Invariants: it raises nothing; to connect, the handshake and the wait behind it take at most
`seconds` each.

Worked example: the certificate of PD has expired: `10.0.0.1:2379: certificate verify failed:
certificate has expired`.

Tested in tests/contract/test_tikv_tls.py.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .tikv_seam import Tls

HUNG_UP: Final = "it hung up when it had seen our certificate"


def trouble(addresses: Sequence[str], tls: Tls, seconds: float) -> str:
    """What each PD, at HOST:PORT, has against a handshake; empty: nothing."""
    told = ((address, _refusal(address, tls, seconds)) for address in addresses)
    return "; ".join(f"{address}: {why}" for address, why in told if why)


def _refusal(address: str, tls: Tls, seconds: float) -> str:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.load_cert_chain(tls.cert, tls.key, password="")
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            # Whether our own certificate is taken is told behind the handshake. Who takes it speaks
            # first, as servers of HTTP/2 do, or waits for us.
            with suppress(TimeoutError):
                return "" if encrypted.recv(1) else HUNG_UP
            return ""
    except ssl.SSLCertVerificationError as error:
        return f"certificate verify failed: {error.verify_message}"
    except ssl.SSLError as error:
        return (error.reason or str(error)).replace("_", " ").lower()
    except TimeoutError:
        return "no answer in time"
    except OSError as error:
        return error.strerror or str(error)
