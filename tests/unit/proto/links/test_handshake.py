"""The handshake: its bytes by the book, and every way to get it wrong."""

from __future__ import annotations

import hmac
import pickle
from collections.abc import Callable

import pytest

from kubebraid.base.links import Peer
from kubebraid.proto.links.handshake import (
    CLAIM,
    DIALER,
    HELLO,
    LISTENER,
    MAGIC,
    PROOF_BYTES,
    STRANGER_BYTES_MAX,
    Handshake,
    Identity,
    IdentityRefused,
    Step,
    decode,
    encode,
)
from kubebraid.proto.links.reasons import LinkBroken, Reason

from .kit import DIALER_NONCE, LISTENER_NONCE, OTHER_SECRET, ROUTER, SECRET, SHARD


def dialer(secret: bytes | None = SECRET, me: Identity = ROUTER) -> Handshake:
    return Handshake(DIALER, me, secret, DIALER_NONCE)


def listener(secret: bytes | None = SECRET, me: Identity = SHARD) -> Handshake:
    return Handshake(LISTENER, me, secret, LISTENER_NONCE)


def run(left: Handshake, right: Handshake) -> list[bytes]:
    """All that is said, in order, until one falls silent."""
    said = []
    for side, other in [(left, right), (right, left)] * 3:
        words = side.take_output()
        if not words:
            break
        said.append(words)
        other.feed(words)
    return said


def refused(side: Handshake, data: bytes) -> Reason:
    with pytest.raises(LinkBroken) as caught:
        side.feed(data)
    return caught.value.reason


def digest(key: bytes, *parts: bytes) -> bytes:
    return hmac.new(key, b"".join(parts), "sha256").digest()


def test_both_sides_learn_who_is_there_and_share_two_keys() -> None:
    left, right = dialer(), listener()
    said = run(left, right)
    assert [len(words) for words in said] == [40, 40, 32, 184, 184]
    assert (left.peer, right.peer) == (SHARD.peer, ROUTER.peer)
    assert left.keys is not None
    assert right.keys is not None
    assert (left.keys.send, left.keys.receive) == (right.keys.receive, right.keys.send)
    assert left.keys.send != left.keys.receive


def test_handshake_by_the_book() -> None:
    """Every byte, from the formulas of the module: the format is a promise to the next version."""
    left, right = dialer(), listener()
    hello_d, hello_l, proof, claim_l, claim_d = run(left, right)
    assert hello_d == b"KBLK\x02\x02\x01\x01" + DIALER_NONCE
    assert hello_l == b"KBLK\x02\x02\x00\x01" + LISTENER_NONCE
    base = digest(SECRET, hello_d, hello_l)
    assert proof == digest(base, b"dialer PROOF\0\0\0\0")
    name = b"shard".ljust(16, b"\0") + b"shard-1".ljust(64, b"\0") + b"braid-1".ljust(64, b"\0")
    shard = name + (22).to_bytes(8, "big")
    assert claim_l == shard + digest(base, b"listener CLAIM\0\0", shard)
    router = claim_d[: CLAIM.size]
    assert claim_d[CLAIM.size :] == digest(base, b"dialer CLAIM\0\0\0\0", shard, router)
    assert left.keys is not None
    assert left.keys.send == digest(base, b"dialer frames\0\0\0", shard, router)
    assert left.keys.receive == digest(base, b"listener frames\0", shard, router)


def test_dialer_without_the_secret_learns_a_nonce_and_no_more() -> None:
    left, right = dialer(OTHER_SECRET), listener()
    right.feed(left.take_output())
    assert right.take_output() == b"KBLK\x02\x02\x00\x01" + LISTENER_NONCE
    assert refused(right, bytes(PROOF_BYTES)) is Reason.SECRET
    assert right.take_output() == b""


def test_listener_without_the_secret_learns_a_nonce_and_a_mac() -> None:
    """Who sits on an address that we dial is not told who we are."""
    left, right = dialer(), listener(OTHER_SECRET)
    right.feed(left.take_output())
    left.feed(right.take_output())
    proof = left.take_output()
    assert len(proof) == PROOF_BYTES
    assert refused(right, proof) is Reason.SECRET
    forged = encode(SHARD) + bytes(PROOF_BYTES)
    assert refused(left, forged) is Reason.SECRET
    assert left.take_output() == b""


def test_nothing_is_said_by_a_listener_that_is_not_greeted() -> None:
    assert listener().take_output() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        pickle.dumps({"method": "put"}),
        bytes(HELLO.size),
        b"GET /metrics HTTP/1.1\r\nhost: shard-1.shards:7000\r\naccept: */*\r\n\r\n",
        b"K" + bytes(3),
    ],
)
def test_garbage_is_refused_at_its_first_bytes(data: bytes) -> None:
    right = listener()
    assert refused(right, data) is Reason.STRANGE
    assert right.take_output() == b""


def test_beginning_of_a_greeting_is_waited_for() -> None:
    right = listener()
    right.feed(MAGIC[:3])
    assert right.step is Step.HELLO


@pytest.mark.parametrize(("oldest", "newest"), [(3, 4), (0, 0), (1, 1)])
def test_version_that_we_do_not_speak_is_refused(oldest: int, newest: int) -> None:
    """1 among them: a shard that speaks it would misread what ours write."""
    hello = HELLO.pack(MAGIC, oldest, newest, DIALER, 1, DIALER_NONCE)
    assert refused(listener(), hello) is Reason.VERSION


def test_later_version_that_still_speaks_ours_is_taken() -> None:
    """So that processes can be replaced one by one."""
    right = listener()
    right.feed(HELLO.pack(MAGIC, 1, 9, DIALER, 1, DIALER_NONCE))
    assert right.step is Step.PROOF


def test_own_greeting_that_comes_back_is_refused() -> None:
    left = dialer()
    assert refused(left, left.take_output()) is Reason.MIRROR


@pytest.mark.parametrize(("ours", "theirs"), [(SECRET, None), (None, SECRET)])
def test_secret_on_one_side_only_is_refused_by_both(
    ours: bytes | None, theirs: bytes | None
) -> None:
    left, right = dialer(theirs), listener(ours)
    assert refused(right, left.take_output()) is Reason.SCHEME
    hello = HELLO.pack(MAGIC, 2, 2, LISTENER, 0 if ours is None else 1, LISTENER_NONCE)
    assert refused(left, hello) is Reason.SCHEME


def test_two_sides_without_a_secret_agree() -> None:
    left, right = dialer(None), listener(None)
    assert len(run(left, right)) == 5
    assert left.peer == SHARD.peer


def test_peer_of_another_cluster_is_refused() -> None:
    left, right = dialer(me=ROUTER._replace(cluster="braid-2")), listener()
    with pytest.raises(LinkBroken) as caught:
        run(left, right)
    assert caught.value.reason is Reason.CLUSTER
    assert "'braid-1'" in str(caught.value)


def test_identity_that_is_no_word_is_refused_although_it_is_proved() -> None:
    assert decode(encode(SHARD)) == SHARD
    for role, name in ((b"shard", b"a\nb"), (b"", b"a"), (b"shard", b"\xff"), (b"shard", b"a\0b")):
        with pytest.raises(LinkBroken) as caught:
            decode(CLAIM.pack(role, name, b"braid-1", 1))
        assert caught.value.reason is Reason.IDENTITY


@pytest.mark.parametrize("name", ["", "with space", "x" * 65, "-a", "ä"])
def test_own_identity_that_cannot_be_told_is_refused(name: str) -> None:
    with pytest.raises(IdentityRefused):
        encode(Identity(Peer("shard", name, 1), "braid-1"))


def test_stranger_may_not_send_more_than_each_step_asks_for() -> None:
    left, right = dialer(), listener()
    hello = left.take_output()
    assert refused(listener(), hello + b"x") is Reason.EAGER
    right.feed(hello)
    left.feed(right.take_output())
    proof = left.take_output()
    assert len(hello) + len(proof) == STRANGER_BYTES_MAX
    assert refused(right, proof + b"x") is Reason.EAGER


def test_frames_may_follow_the_dialers_claim_at_once() -> None:
    left, right = dialer(), listener()
    for side, other in [(left, right), (right, left)] * 2:
        other.feed(side.take_output())
    right.feed(left.take_output() + b"frames")
    assert right.step is Step.NOTHING
    assert right.rest == b"frames"


def test_listener_may_not_send_frames_before_it_knows_who_is_there() -> None:
    left, right = dialer(), listener()
    for side, other in ((left, right), (right, left), (left, right)):
        other.feed(side.take_output())
    assert refused(left, right.take_output() + b"x") is Reason.EAGER


def replayed_dialer(said: list[bytes]) -> tuple[Handshake, list[bytes]]:
    return Handshake(LISTENER, SHARD, SECRET, b"n" * 32), said[0::2]


def replayed_listener(said: list[bytes]) -> tuple[Handshake, list[bytes]]:
    side = Handshake(DIALER, ROUTER, SECRET, b"n" * 32)
    side.take_output()
    return side, said[1::2]


@pytest.mark.parametrize("replay", [replayed_dialer, replayed_listener])
def test_handshake_that_was_recorded_opens_nothing_later(
    replay: Callable[[list[bytes]], tuple[Handshake, list[bytes]]],
) -> None:
    side, words = replay(run(dialer(), listener()))
    side.feed(words[0])
    assert refused(side, words[1]) is Reason.SECRET
    assert side.peer is None


def test_proof_of_a_listener_does_not_serve_a_dialer() -> None:
    """A man in the middle who dials us back cannot use what we say as a dialer, or as a listener:
    the side is in each proof."""
    left, right = dialer(), listener()
    right.feed(left.take_output())
    left.feed(right.take_output())
    proof = left.take_output()
    right.feed(proof)
    claim = right.take_output()
    left.feed(claim)
    assert refused(right, claim) is Reason.SECRET, "its own claim, reflected"
    mirrored = Handshake(LISTENER, SHARD, SECRET, DIALER_NONCE)
    mirrored.feed(HELLO.pack(MAGIC, 2, 2, DIALER, 1, LISTENER_NONCE))
    assert refused(mirrored, proof) is Reason.SECRET, "made for the same nonces in other places"


def test_unequal_views_of_the_greeting_end_in_a_wrong_proof() -> None:
    """Who changes the versions under way, to have an older one spoken, gets no proof."""
    left, right = dialer(), listener()
    hello = bytearray(left.take_output())
    hello[5] = 9
    right.feed(bytes(hello))
    left.feed(right.take_output())
    assert refused(right, left.take_output()) is Reason.SECRET
