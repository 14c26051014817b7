# lido: build, test, demo. `make help` lists the targets.
GO ?= go

.PHONY: help setup setup-test build test test-fast test-root test-qemu demo demo-down setup-bench bench
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## install what lido needs (packages, kernel limits); says what it changes
	packaging/setup.sh

setup-test: ## install what tests need: programs, and the clients (az new, az 2.45, the Python SDK)
	packaging/setup.sh --test
	test/clients/setup.sh

build: ## build bin/lido
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

test-fast: ## tests that need no root, under 2 minutes
	$(GO) vet ./...
	$(GO) test ./...

test-root: setup setup-test build ## tests on real machines and networks and with the real clients, as root
	$(GO) test -tags root -count=1 -p 1 -timeout 30m ./...

test: setup setup-test build test-fast test-root test-qemu ## all tests, set-up included; what CI runs

demo: setup setup-test build ## run lido's main job before your eyes; leaves the pool running
	demo/demo.sh

demo-down: ## remove every trace of the demo
	demo/demo.sh down

test-qemu: setup-test ## lido on a fresh Debian 12 in a virtual machine without KVM
	$(GO) test -tags qemu -count=1 -v -timeout 25m ./test/qemu

setup-bench: ## install the peers that lido is measured beside (HAProxy, LXD, Slurm)
	packaging/setup.sh --bench

bench: setup-bench build ## measure lido beside its peers, as root; bench/README.md has the latest figures
	$(GO) run ./bench/launch
	$(GO) run ./bench/frontdoor
	$(GO) run ./bench/controlplane
	$(GO) run ./bench/template
	$(GO) run ./bench/scheduler
	$(GO) run ./bench/slurm
