#!/usr/bin/env bash
# Runs every fuzz target of the module for an equal share of a budget:
#
#   [FUZZ_PART=I/N] scripts/fuzz.sh SECONDS [PACKAGE-FOLDER…]
#
# The budget is for fuzzing alone; building comes on top, and takes most of the time.
# FUZZ_PART=0/2 takes the first of every two packages alone, 1/2 the other ones.
set -euo pipefail

budget=${1:?how many seconds}
shift
cd "$(dirname "$0")/.."

targets=()
while IFS=: read -r file func; do
  targets+=("./$(dirname "${file#./}"):$func")
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' "${@:-.}" | sed 's/func //' | sort)
if [ ${#targets[@]} -eq 0 ]; then
  echo "fuzz: no targets" >&2
  exit 1
fi
if [ -n "${FUZZ_PART:-}" ]; then
  part=${FUZZ_PART%/*} parts=${FUZZ_PART#*/}
  mapfile -t targets < <(printf '%s\n' "${targets[@]}" | awk -F: -v part="$part" -v parts="$parts" \
    '$1 != last { last = $1; n++ } (n - 1) % parts == part % parts')
fi
share=$((budget * 1000 / ${#targets[@]}))
echo "fuzz: ${#targets[@]} targets, ${share} ms each"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
# What the fuzzer found worth keeping lies where go test keeps it.
corpus=$(go env GOCACHE)/fuzz
# This module's branches are enough to guide a fuzzer for seconds. With other modules'
# and the standard library's, which a soak has, all of them are compiled once more.
guide=(-gcflags="$(go list -m)/...=-dwarf=false -d=libfuzzer")
[ -z "${LANFOLK_SOAK:-}" ] || guide=(-fuzz .)
failed=()
built=
for t in "${targets[@]}"; do
  pkg=${t%:*} func=${t##*:}
  # A package is linked once for all its targets; go test would link it for each.
  if [ "$built" != "$pkg" ]; then
    go test -c -vet=off -gcflags=all=-dwarf=false "${guide[@]}" -ldflags="-s -w" -o "$work/fuzz.test" "$pkg"
    built=$pkg
    path=$(go list "$pkg")
  fi
  # At its time limit the fuzzer now and then reports the limit itself as the
  # failure (go.dev/issue/48591); without an input that fails that is no finding.
  if (cd "$pkg" && exec "$work/fuzz.test" -test.run '^$' -test.fuzz "^$func\$" -test.fuzztime "${share}ms" -test.fuzzminimizetime 5s \
    -test.parallel 2 -test.fuzzcachedir "$corpus/$path") >"$log" 2>&1 ||
    { grep -qE '^ *context deadline exceeded$' "$log" && ! grep -qE 'Failing input written|seed corpus entry|panic:' "$log"; }; then
    printf 'fuzz: ok   %s %s: %s\n' "$pkg" "$func" "$(grep -oE 'execs: [0-9]+' "$log" | tail -n 1)"
  else
    printf 'fuzz: FAIL %s %s\n' "$pkg" "$func"
    cat "$log"
    failed+=("$t")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "fuzz: ${#failed[@]} of ${#targets[@]} targets failed: ${failed[*]}" >&2
  exit 1
fi
