#!/usr/bin/env bash
# Checks that generated code is what `go generate` makes now. It works on a
# copy, so that a check never changes the tree.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! git grep -q --untracked '^//go:generate ' -- '*.go'; then
  echo "generated: nothing is generated"
  exit 0
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' f; do if [ -e "$f" ]; then printf '%s\0' "$f"; fi; done >"$copy.list"
mkdir "$copy/a" "$copy/b"
tar --null -T "$copy.list" -cf - | tar -C "$copy/a" -xf -
rm -f "$copy.list"
cp -a "$copy/a/." "$copy/b/"
(cd "$copy/b" && go generate ./...)
if ! diff -ru "$copy/a" "$copy/b"; then
  echo "generated: not current; run: go generate ./..." >&2
  exit 1
fi
