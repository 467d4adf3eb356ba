"""Lock as etcd's Mutex has it, stepped by hand: what is asked, in which order, and what is left."""

from __future__ import annotations

import pytest

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.proto.etcd import lock_pb2, rpc_pb2
from kubebraid.router.lock import lock, unlock
from kubebraid.router.procedure import Answer, Check, Gone, Next, Procedure, Service, Unfollow

from .scripted import COMPACTED, Scripted, changed, committed, created, deleted, found, header, seat

REFUSED = RequestRefused(Code.UNAVAILABLE, "etcdserver: request timed out")


def waiting() -> Scripted[Answer]:
    """Lease 1f sits on l/1f since 6 and waits for l/1e of 5."""
    call = Scripted(lock(b"l", 0x1F))
    call.told(committed(6, found(6, seat(b"l/1e", 5))))
    assert call.asked(Service.RANGE).max_create_revision == 5
    call.told(found(8, seat(b"l/1e", 5)))
    assert call.followed() == rpc_pb2.WatchCreateRequest(key=b"l/1e", start_revision=8)
    call.done()
    call.told(created())
    assert call.rests(Next)
    return call


def test_free_lock_costs_one_transaction() -> None:
    call = Scripted(lock(b"l", 0x1F))
    request = call.asked(Service.TXN)
    (compare,) = request.compare
    assert (compare.key, compare.create_revision) == (b"l/1f", 0)
    put, owner = request.success
    assert (put.request_put.key, put.request_put.lease) == (b"l/1f", 0x1F)
    assert (owner.request_range.key, owner.request_range.range_end) == (b"l/", b"l0")
    assert (owner.request_range.limit, owner.request_range.sort_order) == (1, 1)
    call.told(committed(6, found(6, seat(b"l/1f", 6))))
    assert call.rests(Check)
    call.done()
    assert call.result is not None
    assert call.result.revision == 6
    assert lock_pb2.LockResponse.FromString(call.result.body).key == b"l/1f"


def test_call_without_lease_gets_one_of_sixty_seconds() -> None:
    """That nobody keeps alive: etcd orphans the session at once."""
    call = Scripted(lock(b"l", 0))
    assert call.asked(Service.GRANT) == rpc_pb2.LeaseGrantRequest(TTL=60)
    call.told(rpc_pb2.LeaseGrantResponse(ID=0xABC, TTL=60))
    assert call.asked(Service.TXN).success[0].request_put.key == b"l/abc"


def test_lease_that_cannot_be_granted_ends_the_call() -> None:
    call = Scripted(lock(b"l", 0))
    call.refused(REFUSED)
    assert call.error is REFUSED


def test_lease_that_holds_the_lock_is_answered_again() -> None:
    call = Scripted(lock(b"l", 0x1F))
    mine = found(9, seat(b"l/1f", 6))
    call.told(committed(9, mine, mine, succeeded=False))
    assert call.result is not None
    assert call.result.revision == 9


def test_seat_is_refused_without_anything_to_give_up() -> None:
    """An unknown lease: nothing was written."""
    call = Scripted(lock(b"l", 0x1F))
    call.refused(REFUSED)
    assert call.error is REFUSED


def test_wait_ends_when_the_last_older_seat_is_gone() -> None:
    """A put of the key that it watches wakes nobody; after a deletion it looks again."""
    call = waiting()
    call.told(changed(9, seat(b"l/1e", 5, b"still here")))
    assert call.rests(Next)
    call.told(deleted(10, b"l/1e"))
    assert call.rests(Unfollow)
    call.done()
    call.told(found(10, seat(b"l/1d", 4)))
    assert call.followed() == rpc_pb2.WatchCreateRequest(key=b"l/1d", start_revision=10)
    call.done()
    call.told(deleted(11, b"l/1d"))
    call.done()
    call.told(found(11))
    assert call.asked(Service.RANGE) == rpc_pb2.RangeRequest(key=b"l/1f")
    call.told(found(12, seat(b"l/1f", 6)))
    assert call.result is not None
    assert call.result.revision == 12


def test_waiter_of_the_same_lease_waits_for_the_same_creation() -> None:
    """The second call finds the seat of the first."""
    call = Scripted(lock(b"l", 0x1F))
    call.told(committed(9, found(9, seat(b"l/1f", 6)), found(9, seat(b"l/1e", 5)), succeeded=False))
    assert call.asked(Service.RANGE).max_create_revision == 5


def test_seat_that_is_lost_while_waiting_is_an_expired_session() -> None:
    call = waiting()
    call.told(deleted(10, b"l/1e"))
    call.done()
    call.told(found(10))
    call.told(found(10))
    assert isinstance(call.error, RequestRefused)
    assert (call.error.code, call.error.message) == (Code.UNKNOWN, "mutex: session is expired")


@pytest.mark.parametrize("end", [Gone(), REFUSED], ids=["gone", "refused"])
@pytest.mark.parametrize("cleaned", [True, False])
def test_wait_that_ends_early_gives_the_seat_up(end: Exception, cleaned: bool) -> None:
    """And the client hears of the first failure, not of that of the cleaning."""
    call = waiting()
    call.refused(end)
    assert call.asked(Service.DELETE) == rpc_pb2.DeleteRangeRequest(key=b"l/1f")
    if cleaned:
        call.told(rpc_pb2.DeleteRangeResponse(header=header(12), deleted=1))
    else:
        call.refused(RequestRefused(Code.UNAVAILABLE, "later"))
    assert call.error is end


def test_compacted_watch_ends_the_wait_and_gives_the_seat_up() -> None:
    call = waiting()
    call.told(COMPACTED)
    call.asked(Service.DELETE)
    call.told(rpc_pb2.DeleteRangeResponse(header=header(12), deleted=1))
    assert isinstance(call.error, RequestRefused)
    assert call.error.message == "etcdserver: mvcc: required revision has been compacted"


def test_client_that_went_while_its_seat_was_written_holds_nothing() -> None:
    call = Scripted(lock(b"l", 0x1F))
    call.told(committed(6, found(6, seat(b"l/1f", 6))))
    call.refused(Gone())
    assert call.asked(Service.DELETE).key == b"l/1f"


@pytest.mark.parametrize(
    ("lease", "key"), [(-1, b"l/-1"), (10, b"l/a"), ((1 << 63) - 1, b"l/7fffffffffffffff")]
)
def test_key_is_the_lease_as_go_prints_it(lease: int, key: bytes) -> None:
    assert Scripted(lock(b"l", lease)).asked(Service.TXN).compare[0].key == key


def test_unlock_is_one_deletion() -> None:
    procedure: Procedure[Answer] = unlock(b"l/1f")
    call = Scripted(procedure)
    assert call.asked(Service.DELETE) == rpc_pb2.DeleteRangeRequest(key=b"l/1f")
    call.told(rpc_pb2.DeleteRangeResponse(header=header(7)))
    assert call.result == Answer(7)
