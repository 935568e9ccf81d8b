#!/usr/bin/env bash
# All that CI checks, one step after another, with the time that each took.
# A failed step doesn't hide the next ones; the script fails at the end.
set -uo pipefail
cd "$(dirname "$0")/.."

began=$SECONDS
summary=()
failed=0
used=$(mktemp)
trap 'rm -f "$used"' EXIT

# cpu sets processor to the seconds of processor time that all steps so far took.
cpu() {
  local u s
  times >"$used"
  { read -r; read -r u s; } <"$used"
  processor=$((${u%m*} * 60 + ${s%m*} * 60))
  u=${u#*m} s=${s#*m}
  processor=$((processor + ${u%%[.,]*} + ${s%%[.,]*}))
}

step() {
  local name=$1 start=$SECONDS status=ok before
  shift
  cpu
  before=$processor
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" || { status=FAILED; failed=1; }
  cpu
  summary+=("$(printf '%-10s %4d s, %4d s of processor time  %s' "$name" $((SECONDS - start)) $((processor - before)) "$status")")
}

make='make --no-print-directory'
# The packages that only the tests need come while the linters run.
packages=$(mktemp)
trap 'rm -f "$used" "$packages"' EXIT
$make packages >"$packages" 2>&1 &
installer=$!
installed() {
  local code=0
  wait "$installer" || code=$?
  cat "$packages"
  return $code
}

step download bash -c 'go mod download & go mod download -modfile=tools.mod; wait $!'
step vet $make vet
step static $make staticcheck
step golangci $make golangci
step packages installed
step generated $make generated
step tidy $make tidy
step fuzz $make fuzz
# Last, so that what go test says closes the log.
step test $make test-race

printf '\n'
printf '== %s\n' "${summary[@]}"
printf '== %-10s %4d s\n' all $((SECONDS - began))
exit $failed
