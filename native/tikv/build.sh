#!/usr/bin/env bash
# Builds the wheel of our client of TiKV, kubebraid_tikv, and installs it for an interpreter.
#
#   native/tikv/build.sh [--if-possible] PYTHON [FOLDER]
#
# PYTHON is one of a virtual environment that has maturin (requirements/dev.lock). FOLDER is $KUBEBRAID_PEERS if not
# given, else ~/.cache/kubebraid/peers; the wheel lands in FOLDER/wheels, for CPython 3.11 and newer. What was built
# from the same files is kept, so a second run takes no time; the first takes some minutes. Needs Rust 1.85 or newer;
# only crates are downloaded, pinned by Cargo.lock.in. With --if-possible it says so and ends well where there is no
# Rust or where crates cannot be had: tikv-client is used there. What does not compile is an error in any case.
set -euo pipefail

must=1
if [ "${1:-}" = --if-possible ]; then
  must=0
  shift
fi
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
folder=${2:-${KUBEBRAID_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubebraid/peers}}
sources=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$folder/wheels" "$folder/src"
folder=$(cd "$folder" && pwd)
digest=$(cat "$sources"/{build.sh,Cargo.toml,Cargo.lock.in,pyproject.toml} "$sources"/src/*.rs | sha256sum | cut -c1-12)
wheels=$folder/wheels/tikv-$digest
copy=$folder/src/tikv-native
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

unavailable() {
  echo "build.sh: $1" >&2
  [ "$must" = 0 ] || exit 1
  echo "build.sh: kubebraid_tikv is not built; tikv-client alone is used." >&2
  exit 0
}

# The lock file without the name of the registry, which is cargo's own to tell: it writes it into a lock of one crate.
locked() {
  mkdir -p "$copy/name/src"
  printf '[package]\nname = "name"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nitoa = "1"\n' \
    > "$copy/name/Cargo.toml"
  : > "$copy/name/src/lib.rs"
  rm -f "$copy/name/Cargo.lock"
  cargo generate-lockfile --quiet --manifest-path "$copy/name/Cargo.toml" || return 1
  local name
  name=$(grep -m1 '^source = ' "$copy/name/Cargo.lock")
  awk -v name="$name" '/^checksum = / { print name } { print }' "$sources/Cargo.lock.in" > "$copy/Cargo.lock"
  cargo fetch --quiet --locked --manifest-path "$copy/Cargo.toml"
}

if [ ! -d "$wheels" ]; then
  command -v cargo > /dev/null || unavailable "Rust (1.85 or newer) is needed, and there is no 'cargo' on PATH."
  rm -rf "$wheels.part" "$copy/src"
  mkdir -p "$copy"
  cp -r "$sources"/{Cargo.toml,pyproject.toml,README.md,src} "$copy/"
  locked || unavailable "the crates that Cargo.lock.in names cannot be downloaded."
  # The messages of crates name their files: without the remapping, by where this machine has them and had them from.
  remap="--remap-path-prefix=$copy=native/tikv"
  for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    remap="$remap --remap-path-prefix=$crates=crates"
  done
  RUSTFLAGS=$remap nice -n 10 "$python" -m maturin build --quiet --release --locked --compatibility linux --interpreter "$python" \
    --manifest-path "$copy/Cargo.toml" --target-dir "$copy/target" --out "$wheels.part"
  rm -rf "$folder"/wheels/tikv-????????????
  mv "$wheels.part" "$wheels" # only now: an interrupted build leaves nothing that looks finished
fi

"$python" -m pip install --quiet --disable-pip-version-check --no-input --no-index --no-deps --force-reinstall \
  "$wheels"/*.whl
echo "kubebraid_tikv $digest $(ls "$wheels"/*.whl)"
