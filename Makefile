# Everything a developer or CI runs. Go is all that must be there; `make test` installs the
# PostgreSQL server binaries where they are missing (Debian, Ubuntu), `make lint` its tools.

SHELL   := /bin/bash
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

# The tools, pinned. They are built into ./bin once.
GOLANGCI_LINT_VERSION := v2.15.0
GOFUMPT_VERSION       := v0.12.0
GOLANGCI_LINT := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOFUMPT       := bin/gofumpt-$(GOFUMPT_VERSION)

# The race detector slows the translated C of the SQLite driver some twentyfold, so packages
# that live in it run without; what is concurrent there is the engine's, tested beside it.
NO_RACE := /internal/sqlite$$|/internal/demo$$|/test/
FUZZTIME ?= 30s

.PHONY: all help build test test-setup lint fmt bench demo soak fuzz clean

all: build

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## ./waybill, without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o waybill ./cmd/waybill

test: test-setup ## all tests; the one test command
	$(GO) vet ./...
	$(GO) vet -tags 'faults bench soak' ./...
	@failed=0; \
	$(GO) test -race -timeout 10m $$($(GO) list ./... | grep -Ev '$(NO_RACE)') || failed=1; \
	$(GO) test -timeout 12m $$($(GO) list ./... | grep -E '$(NO_RACE)') || failed=1; \
	exit $$failed

test-setup:
	@scripts/setup-test.sh

lint: $(GOLANGCI_LINT) $(GOFUMPT) ## formatting, layers, faults, readability
	@unformatted=$$($(GOFUMPT) -l .); if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi
	$(GOLANGCI_LINT) run ./...

fmt: $(GOLANGCI_LINT) ## formats the code
	$(GOLANGCI_LINT) fmt ./...

$(GOLANGCI_LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION); this takes some minutes, once"
	@mkdir -p bin && d=$$(mktemp -d) && GOBIN=$$d $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION) && mv $$d/golangci-lint $@ && rmdir $$d

$(GOFUMPT):
	@mkdir -p bin && d=$$(mktemp -d) && GOBIN=$$d $(GO) install mvdan.cc/gofumpt@$(GOFUMPT_VERSION) && mv $$d/gofumpt $@ && rmdir $$d

bench: test-setup ## measures against yardsticks, writes docs/benchmarks.md
	$(GO) test -tags bench -count 1 -timeout 1h ./test/bench -run TestBench -v -args -write $(CURDIR)/docs/benchmarks.md

demo: build ## a live integration, broken on purpose
	./waybill demo

soak: test-setup ## what takes longer than make test may
	$(GO) test -tags 'soak faults' -count 1 -timeout 6h ./...

fuzz: ## every fuzz target for FUZZTIME (30s)
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$$dir" | sed 's/func //' | sort -u | while read -r name; do \
			echo "== $$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null; \
		done; \
	done

clean: ## removes what make built
	rm -rf waybill bin
