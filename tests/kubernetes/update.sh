#!/usr/bin/env bash
# Rewrites go.mod and go.sum for another Kubernetes: `tests/kubernetes/update.sh v1.36.4`.
#
# k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them by folders of its own, and a
# replacement holds in the main module only: here each one is replaced by its release, v0.36.4 for v1.36.4.
# etcd's server and etcdutl come in the version of the client that the API server uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=${1:?"usage: update.sh v1.MINOR.PATCH"}
staging=v0.${version#v1.}
export GOWORK=off

source=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"GoMod": "\(.*\)",*$/\1/p')
field() { sed -n "s|^\t*$1 \(v\?[^ ]*\)$|\1|p" "$source" | head -n 1; }

{
  printf 'module kcl.dev/kcl/tests/kubernetes\n\n'
  grep -E '^(go|godebug) ' "$source"
  printf '\nrequire (\n'
  for module in etcdutl server; do
    printf '\tgo.etcd.io/etcd/%s/v3 %s\n' "$module" "$(field go.etcd.io/etcd/client/v3)"
  done
  printf '\tk8s.io/kubernetes %s\n' "$version"
  printf ')\n\nreplace (\n'
  sed -n "s|^\t\(k8s.io/[^ ]*\) => ./staging/.*|\t\1 => \1 $staging|p" "$source"
  printf ')\n'
} >go.mod
rm -f go.sum
go mod tidy
