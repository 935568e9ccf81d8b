# What a person runs; `make help` lists it.
#
# Everything below needs Go, git, make and bash; `make test` installs the rest
# from Debian's packages when it runs as root.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# lanfolk is pure Go. That linters, tests and builds all say so lets them share
# what the compiler made; only the race detector needs cgo.
export CGO_ENABLED := 0

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# The arguments of `lanfolk up`: make run ARGS="--listen 127.0.0.1:8080".
ARGS ?=
# What `make test` tests, and what it hands to go test.
PKGS ?= ./...
TESTFLAGS ?=
# Test binaries of which nobody wants more than a trace need nothing for debuggers; this
# is a tenth of what making them costs.
NODEBUG := -gcflags=all=-dwarf=false -ldflags='-s -w'
# The race detector is for what is written in Go. SQLite is translated from C: watched, it
# would take twelve times as long, and most of the time of the tests.
RACEFLAGS := -race -gcflags=modernc.org/...=-race=false
# What it makes sleeps for a second when it ends: each package's tests, and each process
# that they start of their own.
export GORACE ?= atexit_sleep_ms=0
# Not empty has the linters read what the race detector compiles; the tests find it in the
# build cache then.
RACE ?=
# How long all fuzz targets together may run, in seconds.
FUZZ_BUDGET ?= 60

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

.PHONY: build
build: ## build the program: build/lanfolk
	$(GO) build -ldflags '$(LDFLAGS)' -o build/lanfolk ./cmd/lanfolk

.PHONY: run
run: build ## build the program and start the node
	@exec build/lanfolk up $(ARGS)

.PHONY: test
test: packages ## run all tests; as root, install what they need first
	$(GO) test $(TESTFLAGS) $(PKGS)

.PHONY: test-race
test-race: packages ## run all tests with the race detector
	CGO_ENABLED=1 $(GO) test -count=1 -timeout=8m $(NODEBUG) $(RACEFLAGS) $(TESTFLAGS) $(PKGS)

.PHONY: packages
packages: ## install the Debian packages that tests need, or say what is missing
	@scripts/packages.sh

.PHONY: check
check: ## all that CI checks: lint, generated code, module files, tests with -race, fuzz
	@scripts/check.sh

.PHONY: lint
lint: tools ## go vet, staticcheck and more linters, in one run of golangci-lint
	$(if $(RACE),CGO_ENABLED=1) GOFLAGS="$$($(GO) env GOFLAGS) $(if $(RACE),$(RACEFLAGS))" build/golangci-lint run ./...

.PHONY: tools
tools:
	$(GO) build -modfile=tools.mod -o build/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: generated
generated: ## check that generated code is current
	@scripts/generated.sh

.PHONY: tidy
tidy: ## check that go.mod and go.sum are tidy
	$(GO) mod tidy -diff

.PHONY: fuzz
fuzz: ## run every fuzz target; together they get FUZZ_BUDGET seconds
	@scripts/fuzz.sh $(FUZZ_BUDGET)

.PHONY: soak
soak: packages ## what takes longer: tests with long forms three times over with -race, then an hour of fuzz
	LANFOLK_SOAK=1 CGO_ENABLED=1 $(GO) test -count=3 -timeout=40m $(RACEFLAGS) $(TESTFLAGS) $(PKGS)
	LANFOLK_SOAK=1 scripts/fuzz.sh 3600

.PHONY: bench
bench: packages ## run the benchmarks, and lanfolk beside its peers
	$(GO) test -run '^$$' -bench . -benchmem -timeout=20m $(TESTFLAGS) $(PKGS)

.PHONY: cover
cover: packages ## run the tests and write build/cover.html
	@mkdir -p build
	$(GO) test -coverpkg=./... -coverprofile=build/cover.out $(TESTFLAGS) $(PKGS)
	$(GO) tool cover -func=build/cover.out | tail -n 1
	$(GO) tool cover -html=build/cover.out -o build/cover.html

.PHONY: clean
clean: ## remove what was built
	rm -rf build
