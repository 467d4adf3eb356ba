"""The handshake of a link: both ends prove that they hold the cluster secret, and say who they are.

What it is: one side of it as a value without I/O: bytes in, bytes out, at the end a peer and two
keys. What it is not: encryption, or a proof of *which* holder of the secret is there: all holders
trust each other's names.

    dialer                                   listener
    HELLO  versions, side, scheme, nonce ->
                                          <- HELLO
    PROOF  of the secret                 ->
                                          <- CLAIM  who I am, with a proof
    CLAIM  who I am, with a proof        ->
    frames                               <-> frames

Words: the *scheme* is SECRET, or OPEN for loopback without a secret: then the same steps are gone
through with an empty secret and prove nothing. The *base key* is HMAC(secret, both HELLOs).

Invariants:
- each step has a fixed size, and not a byte beyond it is accepted before its proof is right; the
  frames of the dialer alone may follow its CLAIM;
- nobody says who he is to one who has not proved the secret: a stranger who dials gets a nonce, a
  stranger who is dialled a nonce and a MAC;
- a proof is HMAC(base key, label of side and step, all claims so far): it fits one connection, one
  side and one step only, so that nothing can be replayed or reflected;
- the keys of the frames are HMAC(base key, direction, both claims): who changed a claim, a version
  or a nonce under way has no key.

Versions: each side names the oldest and the newest that it speaks, the newest common one is spoken.
With TLS below, a later version can bind its channel into the base key.

Worked example: a listener fed with the HELLO of a dialer that holds another secret answers with its
own HELLO; the PROOF raises LinkBroken(SECRET), and nothing was answered to it.

Tested in tests/unit/proto/links/test_handshake.py, tests/property/test_links.py.
"""

from __future__ import annotations

import hmac
import re
from enum import Enum
from struct import Struct
from typing import Final, NamedTuple

from kubebraid.base.errors import KubeBraidError
from kubebraid.base.links import Peer

from .reasons import LinkBroken, Reason

MAGIC: Final = b"KBLK"
# 1 was spoken before versions told their own end (shard/keycodec.py): such a shard would misread
# the rows of a copy, or of a row space that it shares, and nothing else stands between the two.
VERSION_OLDEST: Final = 2
VERSION_NEWEST: Final = 2
OPEN, SECRET = range(2)  # schemes
LISTENER, DIALER = range(2)  # sides
SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
HELLO: Final = Struct(">4sBBBB32s")  # magic, oldest, newest, side, scheme, nonce
CLAIM: Final = Struct(">16s64s64sQ")  # role, name, cluster, incarnation
WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STRANGER_BYTES_MAX: Final = HELLO.size + PROOF_BYTES  # what a dialer may send before it has proved


class IdentityRefused(KubeBraidError):
    """What an operator called this process cannot be told to others."""

    definite = True
    hint = "names begin with a letter or digit; then letters, digits, dots, dashes and underscores"


class Identity(NamedTuple):
    """Who this process is. `cluster`: the id that all processes of one store share.

    The role has up to 16 bytes, the name and the cluster have up to 64; see WORD.
    """

    peer: Peer
    cluster: str


class Keys(NamedTuple):
    """Of the frames, by direction."""

    send: bytes
    receive: bytes


class Step(Enum):
    """What the other side says next."""

    HELLO = HELLO.size
    PROOF = PROOF_BYTES
    CLAIM = CLAIM.size + PROOF_BYTES
    NOTHING = 0


class Handshake:
    """One side. `peer` and `keys` are there once `step` is NOTHING; `rest`: the first frames."""

    def __init__(self, side: int, me: Identity, secret: bytes | None, nonce: bytes) -> None:
        assert side in (DIALER, LISTENER), side
        assert secret is None or len(secret) == SECRET_BYTES, "32 bytes, or None on loopback alone"
        assert len(nonce) == NONCE_BYTES, len(nonce)
        self.step = Step.HELLO
        self.peer: Peer | None = None
        self.keys: Keys | None = None
        self.rest = b""
        self._side, self._me = side, me
        self._claim = encode(me)
        self._scheme = OPEN if secret is None else SECRET
        self._secret = secret or b""
        spoken = (VERSION_OLDEST, VERSION_NEWEST, side, self._scheme)
        self._hello = HELLO.pack(MAGIC, *spoken, nonce)
        self._base_key = b""
        self._input = b""  # of a step that is not whole
        self._output = [self._hello] if side == DIALER else []

    def take_output(self) -> bytes:
        """What is to be sent now."""
        output, self._output = b"".join(self._output), []
        return output

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes of the other side. Raises LinkBroken: then nothing may be sent any more"""
        assert self.step is not Step.NOTHING, "what follows the handshake is frames"
        size = self.step.value
        wanted = size - len(self._input)
        told, rest = self._input + data[:wanted], data[wanted:]
        if self.step is Step.HELLO and not MAGIC.startswith(told[: len(MAGIC)]):
            raise LinkBroken(Reason.STRANGE)
        if len(told) < size:
            self._input = told
            return
        self._input = b""
        if rest and not (self._side == LISTENER and self.step is Step.CLAIM):
            raise LinkBroken(Reason.EAGER, f"{len(rest)} bytes behind its {self.step.name}")
        if self.step is Step.HELLO:
            self._greeted(told)
        elif self.step is Step.PROOF:
            self._proved(told)
        else:
            self._claimed(told)
            self.rest = bytes(rest)

    def _greeted(self, hello: bytes) -> None:
        _magic, oldest, newest, side, scheme, _nonce = HELLO.unpack(hello)
        if max(oldest, VERSION_OLDEST) > min(newest, VERSION_NEWEST):
            spoken = f"{oldest} to {newest}, we {VERSION_OLDEST} to {VERSION_NEWEST}"
            raise LinkBroken(Reason.VERSION, spoken)
        if side == self._side or side not in (DIALER, LISTENER):
            raise LinkBroken(Reason.MIRROR)
        if scheme != self._scheme:
            whose = "ours" if self._scheme == SECRET else "the other"
            raise LinkBroken(Reason.SCHEME, f"{whose} has one")
        if self._side == DIALER:
            self._base_key = _hmac(self._secret, self._hello + hello)
            self._output.append(self._prove(DIALER, Step.PROOF, b""))
            self.step = Step.CLAIM
        else:
            self._base_key = _hmac(self._secret, hello + self._hello)
            self._output.append(self._hello)
            self.step = Step.PROOF

    def _proved(self, proof: bytes) -> None:
        assert self._side == LISTENER, "a dialer hears a claim at once"
        self._check(proof, self._prove(DIALER, Step.PROOF, b""))
        self._output.append(self._claim + self._prove(LISTENER, Step.CLAIM, self._claim))
        self.step = Step.CLAIM

    def _claimed(self, told: bytes) -> None:
        claim, proof = told[: CLAIM.size], told[CLAIM.size :]
        dialing = self._side == DIALER
        claims = claim if dialing else self._claim + claim  # the listener's comes first
        self._check(proof, self._prove(LISTENER if dialing else DIALER, Step.CLAIM, claims))
        other = decode(claim)
        if other.cluster != self._me.cluster:
            raise LinkBroken(Reason.CLUSTER, f"{other.cluster!r}, we to {self._me.cluster!r}")
        if dialing:
            claims += self._claim
            self._output.append(self._claim + self._prove(DIALER, Step.CLAIM, claims))
        ours, theirs = (self._frame_key(side, claims) for side in (self._side, not self._side))
        self.peer, self.keys = other.peer, Keys(send=ours, receive=theirs)
        self.step = Step.NOTHING

    def _prove(self, side: int, step: Step, claims: bytes) -> bytes:
        return _hmac(self._base_key, _label(side, step.name) + claims)

    def _frame_key(self, side: int, claims: bytes) -> bytes:
        assert len(claims) == 2 * CLAIM.size, "both sides are known"
        return _hmac(self._base_key, _label(side, "frames") + claims)

    def _check(self, proof: bytes, expected: bytes) -> None:
        if not hmac.compare_digest(proof, expected):
            raise LinkBroken(Reason.SECRET)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _label(side: int, what: str) -> bytes:
    """16 bytes, so that no label with what follows it can be another one."""
    return f"{'dialer' if side == DIALER else 'listener'} {what}".encode().ljust(16, b"\0")


def encode(identity: Identity) -> bytes:
    """The CLAIM, always of one size. Raises IdentityRefused."""
    (role, name, incarnation), cluster = identity
    for word, size in ((role, 16), (name, 64), (cluster, 64)):
        if not WORD.fullmatch(word) or len(word) > size:
            raise IdentityRefused(f"{word!r} is no name of up to {size} bytes")
    assert 0 <= incarnation < 2**64, incarnation
    return CLAIM.pack(role.encode(), name.encode(), cluster.encode(), incarnation)


def decode(claim: bytes) -> Identity:
    """Raises LinkBroken if `encode` makes no such bytes."""
    *padded, incarnation = CLAIM.unpack(claim)
    role, name, cluster = (raw.rstrip(b"\0").decode(errors="replace") for raw in padded)
    for word in (role, name, cluster):
        if not WORD.fullmatch(word):
            raise LinkBroken(Reason.IDENTITY, repr(word))
    return Identity(Peer(role, name, incarnation), cluster)
