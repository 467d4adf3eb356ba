"""The table: all cases of all topics, and the differences that are meant.

A case that is not listed here has to come out alike on etcd and on KubeBraid, step by step and
field by field. A listed one has to come out different, or its entry has outlived its reason. What
is different on a cluster only has a list of its own, and comes out alike on a single process; so
has what is different on TiKV only.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .case import Case


@dataclass(frozen=True)
class Difference:
    """Cases that are to differ from etcd, and why that is right. `sometimes`: it depends on where
    the keys of a case are hashed, so that they may also come out alike."""

    reason: str
    cases: tuple[str, ...]
    code: str = ""  # what every step that differs is refused with
    sometimes: bool = False


DIFFERENCES: Final[dict[str, Difference]] = {
    "a stream is not sorted by chunks": Difference(
        "with a sort target but no order etcd sorts each chunk by itself, goes on behind the last "
        "row of the sorted chunk, and so repeats rows or loses them; ours come in key order",
        (
            "stream.target_without_order_is_no_sort",
            "stream.target_without_order_over_many_chunks",
        ),
    ),
    "a compacted watch leaves nothing behind": Difference(
        "etcd keeps a watch that it refused as compacted: its id stays taken and its stream never "
        "answers a progress request again; both would only hurt a client",
        ("compact.refused_watch_leaves_the_others", "compact.refused_watch_frees_its_id"),
    ),
    "catching up is cut into answers": Difference(
        "etcd sends all that a watch has missed in one answer of any size; ours are cut between "
        "revisions at 2 MiB, which bounds memory and is what every client accepts",
        ("fragment.off_of_many_revisions",),
    ),
    "an unknown alarm action does no harm": Difference(
        "etcd dereferences the answer that it does not have, and its process ends",
        ("alarm.unknown_action",),
    ),
    "a hash is of what is stored": Difference(
        "of a revision that it compacted at, also an older one, etcd answers with the sum that it "
        "noted when that ran, as of the compaction before; ours is computed when it is asked for, "
        "and refuses what is compacted",
        ("hash.kv_of_the_compacted_revision",),
    ),
    "previous versions at the floor": Difference(
        "an event at the compacted revision itself still has its previous version: more than etcd "
        "gives, and what kube-apiserver needs to go on",
        ("compact.then_watch_from_it", "watch.twice_in_one_revision_then_compacted"),
    ),
    "transactions nested deeper than 49": Difference(
        "the protobuf runtime reads messages up to a depth of 100, two for each nesting",
        ("txn.nested_too_deep", "txn.nested_very_deep"),
    ),
    "no quota unless one is set": Difference(
        "etcd has one of 2 GiB by default and says so in its status",
        (
            "maintenance.status",
            "maintenance.status_header_is_of_now",
            "maintenance.status_with_alarms",
            "alarm.both",
        ),
    ),
    "no users and roles": Difference(
        "authentication is not there: what would change or list it says so",
        (
            "auth.disable_what_is_off",
            "auth.enable_without_root",
            "auth.authenticate",
            "auth.user_add_without_name",
            "auth.user_get_unknown",
            "auth.user_list_of_none",
            "auth.user_delete_unknown",
            "auth.user_change_password_unknown",
            "auth.user_grant_role_unknown",
            "auth.user_revoke_role_unknown",
            "auth.role_add_without_name",
            "auth.role_get_unknown",
            "auth.role_list_of_none",
            "auth.role_delete_unknown",
            "auth.role_grant_permission_unknown",
            "auth.role_revoke_permission_unknown",
            "wire.text_that_is_no_utf8",
        ),
        "UNIMPLEMENTED",
    ),
    "members are not managed": Difference(
        "there is no raft membership behind this API; each refusal says what to do instead",
        (
            "cluster.member_add_without_urls",
            "cluster.member_add_bad_url",
            "cluster.member_remove_unknown",
            "cluster.member_update_unknown",
            "cluster.member_update_bad_url",
            "cluster.member_promote_unknown",
        ),
        "UNIMPLEMENTED",
    ),
    "no leader to move": Difference(
        "every router serves, there is no leader",
        (
            "maintenance.move_leader_to_nobody",
            "maintenance.move_leader_to_zero",
            "maintenance.move_leader_to_itself",
        ),
        "UNIMPLEMENTED",
    ),
    "no downgrade": Difference(
        "etcd's storage versions are not ours: another version is installed, not negotiated",
        (
            "maintenance.downgrade_validate_garbage",
            "maintenance.downgrade_validate_empty",
            "maintenance.downgrade_validate_too_old",
            "maintenance.downgrade_validate_same",
            "maintenance.downgrade_validate",
            "maintenance.downgrade_enable_garbage",
            "maintenance.downgrade_enable_too_old",
            "maintenance.downgrade_cancel_of_none",
            "maintenance.downgrade_unknown_action",
        ),
        "UNIMPLEMENTED",
    ),
}
DIFFERENCES_MAX: Final = 15
CLUSTER_DIFFERENCES: Final[dict[str, Difference]] = {
    "a lease ends shard by shard": Difference(
        "each shard that holds keys of it deletes them at one revision, its home last, and then "
        "the lease is gone (docs/decisions/0010); etcd's API promises their end, not that it is "
        "one revision; these are all cases in which a lease with several keys ends",
        (
            "lease.revoke_deletes_all_in_one_revision",
            "lease.revoke_events",
            "lease.expiry_deletes_with_events",
            "lease.many_keys",
            "txn.put_with_lease",
            "watch.revoked_lease_in_one_answer",
        ),
        sometimes=True,
    ),
    "a router has a name": Difference(
        "every member of the list is named; etcd calls one that was told no name default, and "
        "dev-cluster names its routers",
        ("cluster.member_list", "cluster.member_list_linearizable"),
    ),
}
TIKV_DIFFERENCES: Final[dict[str, Difference]] = {
    "a key is as long as TiKV takes it": Difference(
        "TiKV's default is 8 KiB as it encodes keys; a longer one is refused as too large, before "
        "it has a revision",
        ("put.long_key",),
    ),
}


def _collected() -> tuple[Case, ...]:
    names = sorted(
        found.name
        for found in pkgutil.iter_modules([str(Path(__file__).parent)])
        if found.name.startswith("cases_")
    )
    modules = [importlib.import_module(f"tests.conformance.{name}") for name in names]
    return tuple(each for module in modules for each in module.CASES)


def _by_case(listed: Mapping[str, Difference]) -> dict[str, Difference]:
    return {name: meant for meant in listed.values() for name in meant.cases}


CASES: Final = _collected()
NUMBERS: Final = {each.name: number for number, each in enumerate(CASES)}
assert len(NUMBERS) == len(CASES), "two cases have one name"
MEANT: Final = _by_case(DIFFERENCES)
MEANT_ON_A_CLUSTER: Final = MEANT | _by_case(CLUSTER_DIFFERENCES)
MEANT_ON_TIKV: Final = MEANT_ON_A_CLUSTER | _by_case(TIKV_DIFFERENCES)
