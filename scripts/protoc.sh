#!/usr/bin/env bash
# Makes the Go code of a .proto file, beside it; go generate calls it there.
# The compiler is Debian's protobuf-compiler, its plugins are in tools.mod.
set -euo pipefail

proto=$1
here=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
package=github.com/lanfolk/lanfolk/${here#"$root"/}
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
for p in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
  (cd "$root" && go build -modfile=tools.mod -o "$plugins/" "$p")
done
# The published file names no Go package, and stays as it is.
protoc --plugin="$plugins/protoc-gen-go" --plugin="$plugins/protoc-gen-go-grpc" \
  --go_out=. --go_opt=paths=source_relative,"M$proto=$package" \
  --go-grpc_out=. --go-grpc_opt=paths=source_relative,"M$proto=$package" "$proto"
