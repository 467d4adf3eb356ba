"""etcdctl's leases, locks and elections, which several clients hold against each other."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import Supervisor, wait_for
from tests.e2e.store import Store
from tests.e2e.twin import LeaseOf, Rev, Twin

pytestmark = pytest.mark.e2e

TTL_S: Final = 2
EXPIRY_S_MAX: Final = 15.0
QUIET_S: Final = 0.3  # long enough for a rival to come in, if it wrongly could
RIVALS: Final = 5


def queued(twin: Twin, prefix: str) -> None:
    """Wait until a holder and one rival have their keys on both stores."""

    def both() -> bool:
        return all(len(side.store.etcdctl.values(prefix)) == 2 for side in twin.sides)

    wait_for("the rival to queue up", both, 10)


# ------------------------------------------------------------------------------------------- lease


def test_lease_tells_its_time_and_its_keys(twin: Twin) -> None:
    twin.grant("told", 300)
    for key in ("told/b", "told/a"):
        twin.ok("put", key, "x", "--lease=", LeaseOf("told"))
    twin.ok("lease", "timetolive", LeaseOf("told"))
    printed = twin.ok("lease", "timetolive", LeaseOf("told"), "--keys")
    assert printed.endswith("attached keys([told/a told/b])\n")
    left = re.search(r"granted with TTL\(300s\), remaining\((\d+)s\)", printed)
    assert left
    assert 290 <= int(left[1]) <= 300
    twin.ok("del", "told/a")
    twin.grant("other", 300)
    twin.ok("put", "told/b", "y", "--lease=", LeaseOf("other"))
    assert "attached keys" in twin.ok("lease", "timetolive", LeaseOf("told"), "--keys")
    assert "told/" not in twin.ok("lease", "timetolive", LeaseOf("told"), "--keys")


def test_lease_revoke_deletes_its_keys_at_one_revision(twin: Twin, supervisor: Supervisor) -> None:
    twin.grant("gone", 300)
    for key in ("gone/b", "gone/a"):
        twin.ok("put", key, "x", "--lease=", LeaseOf("gone"))
    watch = twin.watch(supervisor, "gone/", "--prefix", "--prev-kv", "--rev=", Rev(3))
    assert re.fullmatch(
        r"lease [0-9a-f]{16} revoked\n", twin.ok("lease", "revoke", LeaseOf("gone"))
    )
    assert [(event.kind, event.key, event.revision) for event in watch.wait(2)] == [
        ("DELETE", "gone/a", 3),
        ("DELETE", "gone/b", 3),
    ]
    assert "not found" in twin.fails("lease", "revoke", LeaseOf("gone"))
    assert "already expired" in twin.ok("lease", "timetolive", LeaseOf("gone"))


def test_lease_list_holds_what_lives(twin: Twin, shared_store: Store) -> None:
    for name in ("a", "b", "c"):
        twin.grant(f"list-{name}", 300)
    twin.ok("lease", "revoke", LeaseOf("list-b"))
    for ours in twin.each("lease", "list"):
        count, *leases = ours.split("\n")[:-1]
        assert count == f"found {len(leases)} leases"
        assert all(re.fullmatch(r"[0-9a-f]{16}", lease) for lease in leases)
    listed = {f"{lease['id']:x}" for lease in shared_store.etcdctl.json("lease", "list")["leases"]}
    a, b, c = (twin.lease(f"list-{name}") for name in ("a", "b", "c"))
    assert {a, c} <= listed
    assert b not in listed


def test_lease_is_kept_alive_and_ends_when_that_ends(twin: Twin, supervisor: Supervisor) -> None:
    twin.grant("kept", TTL_S)
    twin.grant("once", TTL_S)
    for name in ("kept", "once"):
        twin.ok("put", f"alive/{name}", "x", "--lease=", LeaseOf(name))
    watch = twin.watch(supervisor, "alive/", "--prefix", "--rev=", Rev(3))
    keeper = twin.start(supervisor, "lease", "keep-alive", LeaseOf("kept"))
    time.sleep(TTL_S / 2)
    printed = twin.ok("lease", "keep-alive", LeaseOf("once"), "--once")
    assert printed.endswith(f"keepalived with TTL({TTL_S})\n")
    assert [event.key for event in watch.wait(1)] == ["alive/once"]
    # By now it would have ended at least once; it did not.
    assert twin.keys("alive/", "--prefix") == ["alive/kept"]
    for said in keeper.said():
        assert set(said.splitlines()) == {f"lease LEASE-kept keepalived with TTL({TTL_S})"}
    twin.ok("lease", "revoke", LeaseOf("kept"))
    assert keeper.ends() == 0
    for said in keeper.said():
        assert said.splitlines()[-1] == "lease LEASE-kept expired or revoked."


# -------------------------------------------------------------------------------------------- lock


def test_lock_is_held_by_one_and_handed_on(twin: Twin, supervisor: Supervisor) -> None:
    held = "mutex/LEASE\n\n"
    first = twin.start(supervisor, "lock", "mutex")
    first.says(held)
    second = twin.start(supervisor, "lock", "mutex", f"--ttl={TTL_S}")
    queued(twin, "mutex/")
    time.sleep(QUIET_S)
    second.says("")
    assert first.terminate() == 0
    second.says(held)
    third = twin.start(supervisor, "lock", "mutex")
    queued(twin, "mutex/")
    # Killed, a holder keeps the lock until its lease ends, and not for ever.
    second.kill()
    third.says(held)
    assert third.terminate() == 0
    assert twin.keys("mutex/", "--prefix") == []


def test_lock_of_one_who_was_killed_stays_until_its_lease_ends(
    twin: Twin, supervisor: Supervisor
) -> None:
    holder = twin.start(supervisor, "lock", "dead", f"--ttl={TTL_S}")
    holder.says("dead/LEASE\n\n")
    holder.kill()
    began = time.monotonic()
    assert twin.ok("lock", "dead", "--", "echo", "mine") == "mine\n"
    assert TTL_S / 3 < time.monotonic() - began < EXPIRY_S_MAX


def test_lock_runs_a_command_and_gives_its_exit_code(twin: Twin) -> None:
    script = "echo ETCD_LOCK_REV=$ETCD_LOCK_REV; echo ${ETCD_LOCK_KEY%/*}; exit 7"
    done = twin.both("lock", "exec", "--ttl=30", "--", "sh", "-c", script)
    assert done.code == 7
    assert done.stdout.endswith("\nexec\n")
    assert twin.keys("exec/", "--prefix") == []
    assert twin.ok("lock", "exec", "echo", "free") == "free\n"


def test_lock_lets_only_one_of_many_in(
    shared_store: Store, supervisor: Supervisor, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    script = f"echo in >> {journal}; sleep 0.05; echo out >> {journal}"
    rivals = [
        supervisor.add(
            "lock", shared_store.etcdctl.argv("lock", "crowd", "--", "sh", "-c", script)
        ).start()
        for _ in range(RIVALS)
    ]
    assert [rival.wait(EXPIRY_S_MAX) for rival in rivals] == [0] * RIVALS
    assert journal.read_text().split() == ["in", "out"] * RIVALS


def test_lock_that_is_taken_away_ends_its_holder(twin: Twin, supervisor: Supervisor) -> None:
    """Its lease was revoked behind its back: the holder must not go on believing."""
    holder = twin.start(supervisor, "lock", "taken", f"--ttl={TTL_S}")
    holder.says("taken/LEASE\n\n")
    for side in twin.sides:
        (key,) = side.store.etcdctl.values("taken/")
        side.store.etcdctl.ok("lease", "revoke", key.rpartition("/")[2])
    assert holder.ends() == 1
    holder.says("taken/LEASE\n\nError: session expired\n")


# ------------------------------------------------------------------------------------------- elect


def test_elections_have_one_leader_and_observers_see_each(
    twin: Twin, supervisor: Supervisor
) -> None:
    observer = twin.start(supervisor, "elect", "--listen", "vote")
    first = twin.start(supervisor, "elect", "vote", "one")
    first.says("vote/LEASE\none\n")
    observer.says("vote/LEASE\none\n")
    second = twin.start(supervisor, "elect", "vote", "two")
    queued(twin, "vote/")
    time.sleep(QUIET_S)
    second.says("")
    # A leader proclaims by writing its own key: the same leader, another word.
    for side in twin.sides:
        keys = side.store.etcdctl.values("vote/")
        leader = next(key for key, value in keys.items() if value == "one")
        side.store.etcdctl.ok("put", leader, "news", "--ignore-lease")
    observer.says("vote/LEASE\none\nvote/LEASE\nnews\n")
    assert first.terminate() == 0
    second.says("vote/LEASE\ntwo\n")
    observer.says("vote/LEASE\none\nvote/LEASE\nnews\nvote/LEASE\ntwo\n")
    late = twin.start(supervisor, "elect", "-l", "vote")
    late.says("vote/LEASE\ntwo\n")
    assert second.terminate() == 0
    assert observer.terminate() == 0
    assert twin.keys("vote/", "--prefix") == []
