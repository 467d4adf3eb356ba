#!/usr/bin/env bash
# Builds bench-load, our load generator, into the folder of the peers.
#
#   tests/bench/build.sh [FOLDER]
#
# FOLDER is $KUBEBRAID_PEERS if not given, else ~/.cache/kubebraid/peers; bench-load lands in FOLDER/bin. It is built
# again when its sources have changed. Needs Go 1.26 or newer; only Go modules are downloaded.
set -euo pipefail

folder=${1:-${KUBEBRAID_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubebraid/peers}}
mkdir -p "$folder/bin" "$folder/src/bench-load"
folder=$(cd "$folder" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/load"

sources=$(cat go.mod go.sum ./*.go | cksum)
stamp=$folder/src/bench-load/sources
if [ ! -x "$folder/bin/bench-load" ] || [ "$(cat "$stamp" 2> /dev/null)" != "$sources" ]; then
  if ! command -v go > /dev/null; then
    echo "build.sh: the Go toolchain (1.26 or newer) is needed to build bench-load, and there is no 'go' on PATH." >&2
    exit 1
  fi
  # Under another name first, so that an interrupted build leaves nothing that looks finished.
  go build -trimpath -o "$folder/bin/.bench-load.part" .
  mv "$folder/bin/.bench-load.part" "$folder/bin/bench-load"
  echo "$sources" > "$stamp"
fi
echo "bench-load ${sources%% *} $folder/bin/bench-load"
