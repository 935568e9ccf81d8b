#!/usr/bin/env bash
# Builds the old programs that speak this protocol, from their public sources:
#   build.sh FOLDER
# makes these in FOLDER:
#   discosrv           the global server of March 2015 (leveldb)
#   discosrv-f1a3d52   that of August 2015
#   peer-v0.9.4, peer-v0.10.31, peer-v0.11.26    the discovery of those versions of
#                      Syncthing, whole and unchanged, behind a main of a few lines
# SYNCTHING_GIT and DISCOSRV_GIT name clones to take instead of GitHub's.
#
# They are from before Go modules: each is built in a GOPATH of its own, with what it
# brings in Godeps.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

clone() { # NAME VARIABLE's value
  if [ -n "$2" ]; then
    echo "$2"
  else
    git clone --quiet --bare "https://github.com/syncthing/$1" "$work/$1.git"
    echo "$work/$1.git"
  fi
}
syncthing=$(clone syncthing "${SYNCTHING_GIT:-}")
discosrv=$(clone discosrv "${DISCOSRV_GIT:-}")

# module PATH VERSION: where Go put a module's source.
module() {
  (cd "$work" && go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
}
# What discosrv needs and Syncthing's Godeps lack; and what they have of a kind that
# no longer works: it looks into Go's own types.
groupcache=$(module github.com/golang/groupcache v0.0.0-20241129210726-2c02b8208cf8)
xnet=$(module golang.org/x/net v0.39.0)
xsys=$(module golang.org/x/sys v0.32.0)

# tree VERSION: the source of a version of Syncthing in a GOPATH, which it prints.
tree() {
  local gopath=$work/$1 source
  source=$gopath/src/github.com/syncthing/syncthing
  if [ ! -d "$gopath" ]; then
    mkdir -p "$source" "$gopath/src/github.com/golang"
    git --git-dir="$syncthing" archive "$1" | tar -x -C "$source"
    cp -r "$source/Godeps/_workspace/src/." "$gopath/src/"
    chmod -R u+w "$gopath"
    rm -rf "$gopath/src/golang.org/x/net"
    mkdir -p "$gopath/src/golang.org/x"
    cp -r "$groupcache" "$gopath/src/github.com/golang/groupcache"
    cp -r "$xnet" "$gopath/src/golang.org/x/net"
    cp -r "$xsys" "$gopath/src/golang.org/x/sys"
    rm -rf "$source/Godeps"
  fi
  echo "$gopath"
}

# build VERSION FOLDER PROGRAM: builds what lies in the folder of the tree.
build() {
  local gopath
  gopath=$(tree "$1")
  echo "$3"
  (cd "$gopath/src/github.com/syncthing/syncthing/$2" && CGO_ENABLED=0 GO111MODULE=off GOFLAGS='' GOPATH="$gopath" go build -o "$to/$3" .)
}

# peer VERSION MAIN [EDIT]
peer() {
  local at
  at=$(tree "$1")/src/github.com/syncthing/syncthing/cmd/peer
  mkdir -p "$at"
  sed "${3:-}" "$here/$2/main.go" >"$at/main.go"
  build "$1" cmd/peer "peer-$1"
}

# server COMMIT VERSION PROGRAM: within Syncthing's tree, for it uses what is internal there.
server() {
  local at
  at=$(tree "$2")/src/github.com/syncthing/syncthing/cmd/$3
  mkdir -p "$at"
  git --git-dir="$discosrv" archive "$1" | tar -x -C "$at"
  build "$2" "cmd/$3" "$3"
}

peer v0.9.4 v0.9
peer v0.10.31 v0.10
peer v0.11.26 v0.10 s,syncthing/internal/discover,syncthing/lib/discover,
server 4c705ff v0.10.31 discosrv
server f1a3d52 v0.11.26 discosrv-f1a3d52
