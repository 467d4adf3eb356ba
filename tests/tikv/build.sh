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

if ! have pd; then
  enter pd
  build pd -tags without_dashboard github.com/tikv/pd/cmd/pd-server # without its web pages
fi

# One line of the library is changed in a copy: having applied raft entries it empties them, while some still wait to be
# sent, so that a follower gets empty ones and panics. (An overlay over the module cache is refused by Go 1.26.)
# Without checklinkname=0 the linker refuses how modules of 2021 reach into Go's runtime.
if ! have store; then
  enter store
  go mod download github.com/ngaut/unistore
  cp -r "$(go list -m -f '{{.Dir}}' github.com/ngaut/unistore)" unistore
  chmod -R u+w unistore
  applier=unistore/tikv/raftstore/applier.go
  if [ "$(grep -c '^\s*apply\.entries\[i\] = eraftpb\.Entry{}$' $applier)" != 1 ]; then
    echo "build.sh: the line of unistore that has to be changed is not there." >&2
    exit 1
  fi
  sed -i.before 's/^\(\s*\)apply\.entries\[i\] = eraftpb\.Entry{}$/\1_ = i/' $applier
  printf 'module github.com/ngaut/unistore\n\ngo 1.16\n' > unistore/go.mod
  go mod edit -replace github.com/ngaut/unistore=./unistore
  build store -ldflags=-checklinkname=0 .
fi

for name in pd store; do echo "tikv-$name $(digest $name) $folder/bin/tikv-$name"; done
