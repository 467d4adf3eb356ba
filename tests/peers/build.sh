#!/usr/bin/env bash
# Builds the programs that the end-to-end tests run against: etcd, etcdctl, etcd's load tool, kube-apiserver, kubectl,
# by build_clients.sh the programs of tests/clients, and with KUBEBRAID_CLUSTER_PEERS=1 by fetch_tlc.sh the checker of
# the models.
#
#   tests/peers/build.sh [FOLDER]
#
# FOLDER is $KUBEBRAID_PEERS if not given, else ~/.cache/kubebraid/peers; the programs land in FOLDER/bin, one line is
# printed for each. What is there in the right version is kept, so a second run takes no time. Needs Go 1.26 or newer,
# what build_clients.sh and fetch_tlc.sh need, and nothing else. The first run takes some minutes, as kube-apiserver is
# large.
set -euo pipefail

etcd_version=v3.7.3      # the version that `kubebraid serve` tells its clients
benchmark_version=v3.6.8 # the last one that builds as a module of its own
kube_version=v1.36.3

folder=${1:-${KUBEBRAID_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubebraid/peers}}
mkdir -p "$folder/bin" "$folder/src"
folder=$(cd "$folder" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

need_go() {
  if ! command -v go > /dev/null; then
    echo "build.sh: the Go toolchain (1.26 or newer) is needed to build $1, and there is no 'go' on PATH." >&2
    exit 1
  fi
  local version
  version=$(cd / && GOTOOLCHAIN=local go env GOVERSION) # like go1.26.8
  local minor=${version#go1.}
  minor=${minor%%[!0-9]*}
  if [ "${minor:-0}" -lt 26 ]; then
    echo "build.sh: Go 1.26 or newer is needed to build $1, this is ${version#go}." >&2
    exit 1
  fi
}

# have BINARY FOLDER MODULE VERSION: the binary exists and was built from the wanted version of that module.
have() {
  [ -x "$folder/bin/$1" ] && grep -qE "^(require )?[[:space:]]*$3 $4( |\$)" "$folder/src/$2/go.mod" 2> /dev/null
}

# enter FOLDER PACKAGE...: the current folder becomes a module of its own that imports these main packages.
enter() {
  mkdir -p "$folder/src/$1"
  cd "$folder/src/$1"
  shift
  {
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    printf '\t_ "%s"\n' "$@"
    printf ')\n'
  } > tools.go
}

# build BINARY PACKAGE: under another name first, so that an interrupted build leaves nothing that looks finished.
build() {
  go build -o "$folder/bin/.$1.part" "$2"
  mv "$folder/bin/.$1.part" "$folder/bin/$1"
}

# kube_module: k8s.io/kubernetes replaces its staging modules by folders of its own tree. A module that depends on it has
# to name their released versions instead: v0.36.3 of each goes with v1.36.3 of the whole.
kube_module() {
  local info gomod
  printf 'module peers\n\ngo 1.26\n' > go.mod
  info=$(go mod download -json "k8s.io/kubernetes@$kube_version")
  gomod=$(sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' <<< "$info")
  {
    printf 'module kube\n\n'
    grep -E '^go ' "$gomod"
    printf '\nrequire k8s.io/kubernetes %s\n\nreplace (\n' "$kube_version"
    sed -nE 's|^[[:space:]]*(k8s\.io/[a-z-]+) => .*|\1|p' "$gomod" | sort -u |
      while read -r staging; do printf '\t%s => %s v0.%s\n' "$staging" "$staging" "${kube_version#v1.}"; done
    printf ')\n'
  } > go.mod
  go mod tidy
}

etcd_main=go.etcd.io/etcd/server/v3 etcdctl_main=go.etcd.io/etcd/etcdctl/v3
if ! have etcd etcd $etcd_main $etcd_version || ! have etcdctl etcd $etcdctl_main $etcd_version; then
  need_go "etcd and etcdctl"
  rm -f "$folder/bin/etcd" "$folder/bin/etcdctl"
  enter etcd $etcd_main $etcdctl_main
  printf 'module etcd\n\ngo 1.26\n' > go.mod
  go get "$etcd_main@$etcd_version" "$etcdctl_main@$etcd_version"
  build etcd $etcd_main
  build etcdctl $etcdctl_main
fi

benchmark_main=go.etcd.io/etcd/v3/tools/benchmark
if ! have benchmark benchmark go.etcd.io/etcd/v3 $benchmark_version; then
  need_go "etcd's benchmark"
  rm -f "$folder/bin/benchmark"
  enter benchmark $benchmark_main
  printf 'module benchmark\n\ngo 1.26\n' > go.mod
  go get "go.etcd.io/etcd/v3@$benchmark_version"
  go mod tidy
  build benchmark $benchmark_main
fi

apiserver_main=k8s.io/kubernetes/cmd/kube-apiserver kubectl_main=k8s.io/kubernetes/cmd/kubectl
for binary in kube-apiserver kubectl; do
  main=$apiserver_main
  [ $binary = kubectl ] && main=$kubectl_main
  if have $binary kube k8s.io/kubernetes $kube_version && grep -qsF "\"$main\"" "$folder/src/kube/tools.go"; then
    continue
  fi
  need_go $binary
  # One module for both: the second needs more modules than the first, hence the tidying.
  if ! { have kube-apiserver kube k8s.io/kubernetes $kube_version || have kubectl kube k8s.io/kubernetes $kube_version; }; then
    rm -f "$folder/bin/kube-apiserver" "$folder/bin/kubectl"
  fi
  enter kube $apiserver_main $kubectl_main
  if grep -qsF "k8s.io/kubernetes $kube_version" go.mod; then go mod tidy; else kube_module; fi
  [ -x "$folder/bin/$binary" ] || build $binary $main
done

for binary in etcd etcdctl benchmark kube-apiserver kubectl; do
  case $binary in
    etcd | etcdctl) version=$etcd_version ;;
    benchmark) version=$benchmark_version ;;
    *) version=$kube_version ;;
  esac
  echo "$binary $version $folder/bin/$binary"
done

"$here/build_clients.sh" "$folder"
if [ -n "${KUBEBRAID_CLUSTER_PEERS:-}" ]; then "$here/fetch_tlc.sh" "$folder"; fi
"$here/../bench/build.sh" "$folder"
