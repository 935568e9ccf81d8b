#!/usr/bin/env bash
# All that CI checks, with the time that each step took. A failed step doesn't
# hide the next ones; the script fails at the end.
set -uo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make='make --no-print-directory'
# Nobody wants to debug what is built here. Linters, programs and tests are all
# compiled without what debuggers need, and alike, so that each finds in the build
# cache what another made.
nodebug=-gcflags=all=-dwarf=false
GOFLAGS="$(go env GOFLAGS) $nodebug -ldflags=-w"
export GOFLAGS

# step NAME COMMAND… runs a command and leaves how it went in $work.
step() {
  local name=$1 status=ok TIMEFORMAT='%0R %0U %0S' wall user system
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  { time "$@" 2>&3 || status=FAILED; } 3>&2 2>"$work/$name.time"
  read -r wall user system <"$work/$name.time"
  printf '== %-10s %4d s, %4d s of processor time  %s\n' "$name" "$wall" $((user + system)) "$status" >"$work/$name.done"
}

# The packages that only the tests need come while the linters are built.
step packages $make packages >"$work/packages.log" 2>&1 &
installer=$!
step download bash -c 'go mod download & go mod download -modfile=tools.mod; wait $!'
step tools $make tools
wait "$installer"
cat "$work/packages.log"
# The linters read the code as the race detector's tests compile it.
step lint $make lint RACE=yes
step tidy $make tidy
step generated $make generated
# A second for each target of a third of the packages, the others at the next commits; all
# seeds are among the tests. `make fuzz` takes all targets, a soak an hour for them.
step fuzz env FUZZ_PART="$(git rev-list --count HEAD)/3" $make fuzz FUZZ_BUDGET=30
# Last and alone: what computes beside them would make tests of networks late. go vet's
# part of go test is left out, as the linters did it.
step test $make test-race TESTFLAGS='-vet=off -p=3' PKGS='./test/... ./...'

printf '\n'
failed=0
for name in packages download tools lint tidy generated fuzz test; do
  cat "$work/$name.done" || failed=1
  ! grep -q FAILED "$work/$name.done" || failed=1
done
printf '== %-10s %4d s\n' all "$SECONDS"
exit $failed
