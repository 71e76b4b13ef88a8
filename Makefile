# ktrdr fleet. `make help` lists the targets.
#
# Every tool comes from the Go module proxy at the version that its own modfile
# pins (tools/<name>/go.mod); nothing has to be installed beside Go, make, git
# and, for the race detector, gcc.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

MODULE := ktrdr.io/fleet
GIT := git -c safe.directory='$(CURDIR)'

# What the binaries say they are. Both come from the commit alone, so that two
# builds of one commit are the same bytes wherever and whenever they are made.
VERSION ?= $(shell $(GIT) describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell $(GIT) rev-parse HEAD 2>/dev/null)
SOURCE_DATE_EPOCH ?= $(shell $(GIT) log -1 --format=%ct 2>/dev/null || echo 0)
export VERSION COMMIT SOURCE_DATE_EPOCH MODULE

LINT := go tool -modfile=tools/golangci-lint/go.mod golangci-lint
GOTESTSUM := go tool -modfile=tools/gotestsum/go.mod gotestsum
DEADCODE := go tool -modfile=tools/deadcode/go.mod deadcode

# Packages whose tests run under the race detector in `make check`; tests that
# need an engine skip themselves under -short.
RACE_PACKAGES ?= ./pkg/...
TEST_PACKAGES ?= ./...
TEST_TIMEOUT ?= 20m
TEST_FLAGS ?=
BENCH_FLAGS ?=
FUZZTIME ?= 10s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## static binaries of every program for this machine, in bin/
	scripts/build.sh bin

.PHONY: check
check: fmt-check generate-check tidy-check proto-check lint links race ## all that needs no engine: format, generated files, tidy, lint, import rules, links, race tests

.PHONY: fmt
fmt: ## format all Go files
	$(LINT) fmt

.PHONY: fix
fix: ## format, and let the linters mend what they can mend themselves
	$(LINT) fmt
	$(LINT) run --fix

.PHONY: fmt-check
fmt-check: ## fail on a Go file that is not formatted
	$(LINT) fmt --diff

.PHONY: generate
generate: ## regenerate what is generated
	go generate ./...

.PHONY: generate-check
generate-check: ## fail when a generated file is not what its generator makes
	scripts/generate-check.sh

.PHONY: tidy-check
tidy-check: ## fail when go.mod or go.sum are not tidy
	go mod tidy -diff

.PHONY: proto-check
proto-check: ## lint the contract, and refuse what breaks agents or operators one version away
	scripts/proto-check.sh

.PHONY: proto-released
proto-released: ## note the contract of a release: the next one has to work with it
	cd proto && go tool -modfile=../tools/buf/go.mod buf build -o released.binpb

.PHONY: lint
lint: ## linters and import rules (.golangci.yml)
	$(LINT) run

.PHONY: deadcode
deadcode: ## functions that no program and no test reaches
	$(DEADCODE) -test ./...

.PHONY: links
links: ## what programs may link, package docs, file sizes, links in the docs
	go test -count=1 ./test/checks/...

.PHONY: race
race: ## tests without an engine, under the race detector
	scripts/packages.sh gcc libc6-dev
	CGO_ENABLED=1 go test -race -short -timeout $(TEST_TIMEOUT) $(RACE_PACKAGES)

.PHONY: engine
engine: ## make sure that a Docker engine answers (installs and starts Debian's if none does)
	scripts/engine.sh start git ca-certificates openssh-server

.PHONY: node-root
node-root: ## the root file system of whole machines for tests (LXC; made once, in the cache)
	@scripts/node-root.sh >/dev/null || echo "SKIPPED: tests on whole machines; the reason stands above" >&2

.PHONY: database-root
database-root: ## PostgreSQL for tests (made once, in the cache)
	@scripts/database-root.sh >/dev/null || echo "SKIPPED: tests on a real PostgreSQL; the reason stands above" >&2

.PHONY: newer-engines
newer-engines: ## newer Docker engines for tests (26.1 and 28.5; fetched once, into the cache)
	@scripts/engines.sh >/dev/null || echo "SKIPPED: tests on some newer engines; the reason stands above" >&2

.PHONY: test
test: engine $(if $(filter ./... ./test/%,$(TEST_PACKAGES)),node-root database-root newer-engines) ## every test, on a real engine; sets that up itself
	$(GOTESTSUM) --format standard-quiet -- -count=1 -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(TEST_PACKAGES)

.PHONY: test-engines
test-engines: engine newer-engines ## all tests that concern engines, on newer ones than the machine's (`make test` runs a part; five minutes)
	KTRDR_ENGINES=1 go test -count=1 -v -timeout $(TEST_TIMEOUT) ./test/engines

.PHONY: bench
bench: engine ## the table of docs/benchmarks.md, on a real engine (BENCH_FLAGS='-only cold'; half an hour)
	go run ./test/bench $(BENCH_FLAGS)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 10s)
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

.PHONY: release
release: ## release binaries, Debian packages and SHA256SUMS, in dist/
	scripts/release.sh dist

.PHONY: release-check
release-check: ## prove that a release is reproducible: two folders, two caches, same bytes
	scripts/release-check.sh

.PHONY: quickstart
quickstart: ## a fleet of one node on this machine, from nothing
	scripts/quickstart.sh

.PHONY: quickstart-stop
quickstart-stop: ## stop the quickstart's agent and remove all that it made
	scripts/quickstart.sh stop

.PHONY: clean
clean: ## remove what the targets above made in this folder
	rm -rf bin dist
