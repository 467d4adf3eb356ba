#!/usr/bin/env bash
# Builds the programs of tests/clients: etcd client libraries that others wrote, each used for what it is there for.
#
#   tests/peers/build_clients.sh [FOLDER]
#
# FOLDER is as in build.sh, which calls this one at its end. FOLDER/bin gets client-go, client-python and client-java,
# with KUBEBRAID_CLUSTER_PEERS=1 also client-go-robustness (etcd's own judges of histories); a line is printed for each. What was built from
# the same files is kept, so a second run takes no time. Needs Go 1.26, Python 3.11 ($PYTHON, else python3), and for
# client-java a JDK of 17 or newer and Maven. A program that cannot be built for want of these is left out with one
# sentence, and its tests are skipped; with KUBEBRAID_REQUIRE_PEERS=1 that is an error. Every library is pinned: by
# go.sum, by the hashes in requirements.lock, by version in pom.xml.
set -euo pipefail

folder=${1:-${KUBEBRAID_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubebraid/peers}}
mkdir -p "$folder/bin" "$folder/src" "$folder/lib"
folder=$(cd "$folder" && pwd)
script=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/build_clients.sh
sources=$(cd "$(dirname "$script")/../clients" && pwd)
python=${PYTHON:-python3}

# digest LANGUAGE: what a program is built from, in one word: this script's text and all files of its folder.
digest() {
  {
    (cd "$sources/$1" && find . -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    sha256sum < "$script"
  } | sha256sum | cut -c1-64
}

# have LANGUAGE: the program is there, starts, and was built from these very files.
have() {
  [ -x "$folder/bin/client-$1" ] && [ "$(cat "$folder/src/client-$1.digest" 2> /dev/null)" = "$(digest "$1")" ]
}

# built LANGUAGE: note what it was built from, at the very end, so that an interrupted build is done again.
built() {
  digest "$1" > "$folder/src/client-$1.digest"
}

# can LANGUAGE WORDS PROGRAM...: the programs that build it are on PATH.
can() {
  local language=$1 words=$2 program
  shift 2
  for program in "$@"; do
    if ! command -v "$program" > /dev/null; then
      echo "build_clients.sh: $words needed to build client-$language, and there is no '$program' on PATH." >&2
      if [ "${KUBEBRAID_REQUIRE_PEERS:-}" = 1 ]; then exit 1; fi
      return 1
    fi
  done
}

# start_script LANGUAGE COMMAND: what stands in bin for a program that is more than one file.
start_script() {
  printf '#!/bin/sh\nexec %s "$@"\n' "$2" > "$folder/bin/.client-$1.part"
  chmod +x "$folder/bin/.client-$1.part"
  mv "$folder/bin/.client-$1.part" "$folder/bin/client-$1"
}

for language in go ${KUBEBRAID_CLUSTER_PEERS:+go-robustness}; do
  if ! have "$language" && can "$language" "the Go toolchain (1.26 or newer) is" go; then
    (cd "$sources/$language" && go build -o "$folder/bin/.client-$language.part" .)
    mv "$folder/bin/.client-$language.part" "$folder/bin/client-$language"
    built "$language"
  fi
done

# An environment of its own: its protobuf messages have the names of ours, and one process can have them only once.
if ! { have python && "$folder/lib/client-python/bin/python" -c '' 2> /dev/null; } &&
  can python "Python (3.11 or newer) is" "$python"; then
  rm -rf "$folder/lib/client-python"
  "$python" -m venv "$folder/lib/client-python"
  "$folder/lib/client-python/bin/python" -m pip install --disable-pip-version-check --no-input --quiet \
    --require-hashes -r "$sources/python/requirements.lock"
  cp "$sources/python/main.py" "$folder/lib/client-python/main.py"
  start_script python "'$folder/lib/client-python/bin/python' '$folder/lib/client-python/main.py'"
  built python
fi

# The first compiler only and the simplest collector: the program lives for seconds.
if ! have java && can java "a JDK (17 or newer) and Maven are" java javac mvn; then
  rm -rf "$folder/lib/client-java"
  mkdir -p "$folder/lib/client-java/classes"
  mvn --quiet --batch-mode --file "$sources/java/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$folder/lib/client-java/libraries"
  javac -d "$folder/lib/client-java/classes" -cp "$folder/lib/client-java/libraries/*" "$sources"/java/*.java
  path="$folder/lib/client-java/classes:$folder/lib/client-java/libraries/*"
  start_script java "java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp '$path' Main"
  built java
fi

for language in go ${KUBEBRAID_CLUSTER_PEERS:+go-robustness} python java; do
  program=$folder/bin/client-$language
  if [ -x "$program" ]; then echo "client-$language $(digest "$language" | cut -c1-12) $program"; fi
done
