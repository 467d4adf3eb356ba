#!/usr/bin/env bash
# Builds the TiKV-protocol cluster that the tests marked `tikv` run against: PD, and a store with raft.
#
#   tests/tikv/build.sh [FOLDER]
#
# FOLDER is $KUBEBRAID_PEERS if not given, else ~/.cache/kubebraid/peers; tikv-pd and tikv-store land in FOLDER/bin, a
# line is printed for each. What was built from the same files is kept, so a second run takes no time; the first takes
# some minutes, one compiler at a time. Needs Go 1.26 or newer; only Go modules are downloaded, pinned by go.sum.
set -euo pipefail

folder=${1:-${KUBEBRAID_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubebraid/peers}}
mkdir -p "$folder/bin" "$folder/src"
folder=$(cd "$folder" && pwd)
script=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build.sh
sources=$(dirname "$script")
export GOFLAGS="-mod=mod -p=1" GOTOOLCHAIN=local GOWORK=off

digest() { cat "$script" "$sources/$1"/* | sha256sum | cut -c1-12; }

have() { [ -x "$folder/bin/tikv-$1" ] && [ "$(cat "$folder/src/tikv-$1.digest" 2> /dev/null)" = "$(digest "$1")" ]; }

# enter NAME: a fresh copy of the sources, where the build may add to them.
enter() {
  if ! command -v go > /dev/null; then
    echo "build.sh: the Go toolchain (1.26 or newer) is needed to build tikv-$1, and there is no 'go' on PATH." >&2
    exit 1
  fi
  rm -rf "$folder/src/tikv-$1"
  cp -r "$sources/$1" "$folder/src/tikv-$1"
  cd "$folder/src/tikv-$1"
}

# build NAME FLAGS...: under another name first, so that an interrupted build leaves nothing that looks finished.
build() {
  local name=$1
  shift
  nice -n 10 go build -o "$folder/bin/.tikv-$name.part" "$@"
  mv "$folder/bin/.tikv-$name.part" "$folder/bin/tikv-$name"
  digest "$name" > "$folder/src/tikv-$name.digest"
}

# change FILE LINE REPLACEMENT: what sed is to make of the one line that matches; without it the library is another one.
change() {
  if [ "$(grep -c "$2" "$1")" != 1 ]; then
    echo "build.sh: the line of unistore that has to be changed is not in $1: $2" >&2
    exit 1
  fi
  sed -i "s/$2/$3/" "$1"
}

if ! have pd; then
  enter pd
  build pd -tags without_dashboard github.com/tikv/pd/cmd/pd-server # without its web pages
fi

# Three faults of the library are mended in a copy (an overlay over the module cache is refused by Go 1.26):
# - Having applied raft entries it empties them, while some wait to be sent: a follower gets empty ones and panics.
# - Locks are in memory only. A store that starts restores them from its raft log, but reads one kind of entries and by
#   default writes another; what it cannot read it passes over without a word. So a killed store forgot what had been
#   prewritten, and the rows of a committed transaction whose locks no client had settled yet were lost. Now the kind
#   that is written is read. (Writing the other kind would not do: applying a commit of that kind it looks for the lock
#   in the store before the batch under way, where a newer one may be.)
# - A snapshot that was made before and is asked for again (for another replica, or because the first got lost) is sent
#   without the description of its files, and the store that receives it panics. Now it is sent with it.
# Without checklinkname=0 the linker refuses how modules of 2021 reach into Go's runtime.
if ! have store; then
  enter store
  go mod download github.com/ngaut/unistore
  cp -r "$(go list -m -f '{{.Dir}}' github.com/ngaut/unistore)" unistore
  chmod -R u+w unistore
  change unistore/tikv/raftstore/applier.go '^\(\s*\)apply\.entries\[i\] = eraftpb\.Entry{}$' '\1_ = i'
  change unistore/server/server.go 'raftstore\.RestoreLockStore(' 'raftstore.RestoreLocks('
  change unistore/tikv/raftstore/peer_storage.go 's\.Build(snap, region, snapshotData, &snapshotStatics, mgr)' \
    'buildDescribed(s, snap, region, snapshotData, \&snapshotStatics, mgr)'
  cat > unistore/tikv/raftstore/build_described.go << 'END'
package raftstore

import (
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/raft_serverpb"
)

// buildDescribed builds a snapshot, and says what is in it also if it was built before.
func buildDescribed(s Snapshot, of *regionSnapshot, region *metapb.Region, data *raft_serverpb.RaftSnapshotData,
	statistics *SnapStatistics, manager *SnapManager) error {
	if err := s.Build(of, region, data, statistics, manager); err != nil {
		return err
	}
	if built, ok := s.(*Snap); ok && data.Meta == nil {
		data.FileSize, data.Version, data.Meta = built.TotalSize(), snapshotVersion, built.MetaFile.Meta
	}
	return nil
}
END
  cat > unistore/tikv/raftstore/restore_locks.go << 'END'
package raftstore

import (
	"github.com/ngaut/unistore/tikv/mvcc"
	"github.com/ngaut/unistore/tikv/raftstore/raftlog"
	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/eraftpb"
)

// RestoreLocks applies what was applied before once more, to the locks alone.
func RestoreLocks(offset uint64, bundle *mvcc.DBBundle, logs *badger.DB) error {
	last := make(map[string]int) // an entry that lost to another leader's was written before it, at the same index
	at := 0
	err := logs.IterateVLog(offset, func(e badger.Entry) {
		at++
		if isRaftLogKey(e.Key.UserKey) && len(e.Value) > 0 {
			last[string(e.Key.UserKey)] = at
		}
	})
	if err != nil {
		return err
	}
	txn := bundle.DB.NewTransaction(false)
	defer txn.Discard()
	indices := make(map[uint64]uint64)
	locks := &mvcc.DBBundle{LockStore: bundle.LockStore}
	at = 0
	var failed error
	err = logs.IterateVLog(offset, func(e badger.Entry) {
		at++
		if failed != nil || last[string(e.Key.UserKey)] != at {
			return
		}
		applied, err := isRaftLogApplied(e.Key.UserKey, indices, txn)
		if err == nil && applied {
			err = restoreLocksOf(e.Value, locks)
		}
		failed = err
	})
	if failed != nil {
		return failed
	}
	return err
}

func restoreLocksOf(value []byte, locks *mvcc.DBBundle) error {
	var entry eraftpb.Entry
	if err := entry.Unmarshal(value); err != nil {
		return err
	}
	if entry.EntryType != eraftpb.EntryType_EntryNormal ||
		len(entry.Data) == 0 || entry.Data[0] != raftlog.CustomRaftLogFlag {
		return nil
	}
	replayed := &applyContext{wb: new(WriteBatch)}
	new(applier).execCustomLog(replayed, raftlog.NewCustom(entry.Data))
	replayed.wb.entries = nil
	return replayed.wb.WriteToKV(locks)
}
END
  printf 'module github.com/ngaut/unistore\n\ngo 1.16\n' > unistore/go.mod
  go mod edit -replace github.com/ngaut/unistore=./unistore
  build store -ldflags=-checklinkname=0 .
fi

for name in pd store; do echo "tikv-$name $(digest $name) $folder/bin/tikv-$name"; done
