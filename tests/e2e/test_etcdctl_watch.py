"""etcdctl watch in all its ways: forms of output, typed watches, commands for events, progress."""

from __future__ import annotations

from typing import Final

import pytest

from tests.e2e.etcdctl import Watch
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import Kind, Store
from tests.e2e.twin import LeaseOf, Rev, Twin

pytestmark = pytest.mark.e2e

NOTIFY_S: Final = 1
NOTIFY_S_MAX: Final = 20.0


@pytest.mark.parametrize("form", ["simple", "fields"])
def test_watch_prints_puts_deletes_and_previous_values(
    twin: Twin, supervisor: Supervisor, form: str
) -> None:
    key = f"wform/{form}"
    twin.grant("w", 300)
    watch = twin.start(supervisor, "watch", key, "--prev-kv", "-w", form, "--rev=", Rev(1))
    twin.ok("put", key, "one")
    twin.ok("put", key, "two", "--lease=", LeaseOf("w"))
    twin.ok("del", key)
    if form == "simple":
        watch.says(f"PUT\n{key}\none\nPUT\n{key}\none\n{key}\ntwo\nDELETE\n{key}\ntwo\n{key}\n\n")
        return
    # Events come in one answer or in several, each with a header of its own.
    wait_for("all events", lambda: all('"Type" : DELETE' in said for said in watch.said()), 10)
    events = [
        [line for line in said.splitlines() if not line.startswith(('"Cl', '"Me', '"Ra', '"Rev'))]
        for said in watch.said()
    ]
    assert events[0] == events[1]
    assert '"PrevValue" : "one"' in events[0]


def test_watch_without_prev_kv_prints_none(twin: Twin, supervisor: Supervisor) -> None:
    twin.ok("put", "wnoprev", "zero")
    watch = twin.start(supervisor, "watch", "wnoprev", "--rev=", Rev(2))
    twin.ok("put", "wnoprev", "one")
    twin.ok("del", "wnoprev")
    watch.says("PUT\nwnoprev\none\nDELETE\nwnoprev\n\n")


def test_watch_takes_its_range_from_variables(twin: Twin, supervisor: Supervisor) -> None:
    env = {"ETCDCTL_WATCH_KEY": "wenv/b", "ETCDCTL_WATCH_RANGE_END": "wenv/d"}
    watch = twin.start(supervisor, "watch", "--rev=", Rev(1), env=env)
    for name in ("a", "b", "c", "d"):
        twin.ok("put", f"wenv/{name}", name)
    watch.says("PUT\nwenv/b\nb\nPUT\nwenv/c\nc\n")


def test_watch_runs_a_command_for_each_event(twin: Twin, supervisor: Supervisor) -> None:
    told = 'echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY=$ETCD_WATCH_VALUE"'
    watch = twin.start(
        *(supervisor, "watch", "wexec/", "--prefix", "--rev=", Rev(1)), "--", "sh", "-c", told
    )
    said = ""
    for words, more in (  # one by one: etcdctl prints all of an answer before it runs anything
        (("put", "wexec/a", "one"), 'PUT\nwexec/a\none\n"PUT" "wexec/a"="one"\n'),
        (("put", "wexec/b", "it's"), 'PUT\nwexec/b\nit\'s\n"PUT" "wexec/b"="it\'s"\n'),
        (("del", "wexec/a"), 'DELETE\nwexec/a\n\n"DELETE" "wexec/a"=""\n'),
    ):
        twin.ok(*words)
        said += more
        watch.says(said)


def test_a_command_is_told_the_revision_and_may_end_the_watch(
    twin: Twin, supervisor: Supervisor
) -> None:
    command = ("--", "sh", "-c", "echo ETCD_WATCH_REVISION=$ETCD_WATCH_REVISION; exit 3")
    watch = twin.start(supervisor, "watch", "wend", "--rev=", Rev(1), *command)
    twin.ok("put", "wend", "one")
    assert watch.ends() == 1
    watch.says(
        "PUT\nwend\none\nETCD_WATCH_REVISION=base+1\n"
        f'command ["sh" "-c" "{command[-1]}"] error (exit status 3)\n'
    )


def test_interactive_watches_take_every_flag(twin: Twin, supervisor: Supervisor) -> None:
    """Several watches share one stream; each is told in the order of the revisions."""
    twin.ok("put", "wtyped/a", "zero")
    watch = twin.start(supervisor, "watch", "-i", typed=True)
    watch.type("watch wtyped/a --rev={+1} --prev-kv")
    watch.says("PUT\nwtyped/a\nzero\n")
    watch.type("nonsense")
    watch.type("watch")
    watch.type("watch wtyped/b wtyped/d --rev={+2} -- echo ran")
    said = (
        "PUT\nwtyped/a\nzero\n"
        "Invalid command nonsense (only support watch)\n"
        "Invalid command watch (command type or key is not provided)\n"
    )
    for name, more in (
        ("b", "PUT\nwtyped/b\nb\nran\n"),
        ("c", "PUT\nwtyped/c\nc\nran\n"),
        ("d", ""),
    ):
        twin.ok("put", f"wtyped/{name}", name)
        said += more
        watch.says(said)
    watch.type("progress")
    said += "progress notify: base+4\n" * 2  # the client library tells it to every watch
    watch.says(said)
    watch.type("watch --prefix wtyped/e --rev={+5} --prev-kv --progress-notify")
    twin.ok("put", "wtyped/e1", "x")
    watch.says(said + "PUT\nwtyped/e1\nx\n")


def test_interactive_watch_ends_with_its_input(twin: Twin) -> None:
    assert "error reading watch request line: EOF" in twin.fails("watch", "-i")
    assert "found separator --, but no commands" in twin.fails("watch", "-i", stdin="watch a --\n")


def test_a_watch_of_the_past_with_previous_values_below_the_floor(
    twin: Twin, supervisor: Supervisor
) -> None:
    """What was compacted away is not told as a previous value, and the watch goes on."""
    for value in ("one", "two", "three"):
        twin.ok("put", "wfloor", value)
    twin.ok("compaction", Rev(2), "--physical")
    watch = twin.start(supervisor, "watch", "wfloor", "--rev=", Rev(3), "--prev-kv")
    twin.ok("del", "wfloor")
    watch.says("PUT\nwfloor\ntwo\nwfloor\nthree\nDELETE\nwfloor\nthree\nwfloor\n\n")


def test_idle_watches_that_asked_for_it_are_told_the_progress(
    supervisor: Supervisor, peers: Peers, kind: Kind
) -> None:
    """`--progress-notify`: an idle watch learns of writes that are none of its business."""
    flags = (f"--watch-progress-notify-interval={NOTIFY_S}s",)
    store = Store(supervisor, peers, kind, "notifying", flags=flags)
    store.start()
    asked = Watch.start(supervisor, store.etcdctl, ["idle", "--progress-notify"])
    silent = Watch.start(supervisor, store.etcdctl, ["idle"])
    wait_for("a first notification", lambda: asked.progress() > 0, NOTIFY_S_MAX)
    revision = store.etcdctl.put("elsewhere", "x")
    wait_for("the write to be told", lambda: asked.progress() >= revision, NOTIFY_S_MAX)
    assert asked.progress() == revision
    assert silent.progress() == 0
    last = store.etcdctl.put("idle", "x")
    assert [event.revision for event in asked.wait(1)] == [last]
    assert [event.revision for event in silent.wait(1)] == [last]
