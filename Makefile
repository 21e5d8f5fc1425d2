# The only entry point. `make help` says what there is.
#
# Needed on the machine: Debian 12, root, git, Rust (rustup), Go and Node. The rest is installed or built
# on the first run, after saying so; tools are kept in ~/.cache/sluice-platform, outside of the repository.

SHELL := /bin/bash
PLATFORM := tests/platform/platform
export SLUICE_SHARED ?= $(abspath $(CURDIR)/../shared)
# Tests of one binary at a time: each world runs a system of its own, and two are what two cores carry.
THREADS ?= $(shell nproc)
ARGS ?=

# One set of features for every debug build, or each command would build the services again. Failpoints do
# nothing unless a test arms them; optimised builds have none.
DEBUG := --workspace --features sluice/failpoints

.DEFAULT_GOAL := help
.PHONY: help demo test check build unit e2e chaos conformance bench images setup up down clean

help: ## Say what there is
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## Show the main job before your eyes: a push becomes a running pod (ARGS=--telegram-token for the real one)
	@$(call say,builds Sluice (about 10 min the first time))
	@cargo build $(QUIET) $(DEBUG) --bins
	@target/debug/sluice-demo $(ARGS)

test: up ## Prove it: unit, integration and end-to-end tests on real parts
	@$(call say,builds Sluice and its tests (about 15 min the first time))
	@cargo build $(QUIET) $(DEBUG) --bins && cargo test $(QUIET) $(DEBUG) --no-run
	@$(call say,runs every test but the end-to-end ones (about 3 min))
	@$(IN_PLATFORM) cargo test $(DEBUG) --lib --bins --test it $(ARGS)
	@$(call say,runs the end-to-end tests (about 8 min))
	@$(IN_PLATFORM) cargo test $(DEBUG) --test e2e -- --test-threads=$(THREADS)

check: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

build: packages ## Build every program (debug)
	cargo build $(QUIET) $(DEBUG) --bins

unit: up ## Every test but the end-to-end ones
	@$(IN_PLATFORM) cargo test $(DEBUG) --lib --bins --test it $(ARGS)

e2e: up build ## The end-to-end tests; ARGS=name picks
	@$(IN_PLATFORM) cargo test $(DEBUG) --test e2e -- --test-threads=$(THREADS) $(ARGS)

chaos: up build ## Only those that kill processes in the middle of things
	@$(IN_PLATFORM) cargo test $(DEBUG) --test e2e -- --test-threads=$(THREADS) chaos

conformance: up build ## The organisation's own files, unchanged, from SLUICE_SHARED (default ../shared)
	@$(IN_PLATFORM) cargo test $(DEBUG) --test conformance -- --test-threads=1 --nocapture

bench: up ## Ratios against the limit measured in the same run (optimised build)
	@$(call say,builds Sluice with optimisation (about 20 min the first time))
	@cargo build $(QUIET) --release --workspace --bins
	@SLUICE_TARGET=$(CURDIR)/target/release target/release/sluice-bench $(ARGS)

images: up ## Images of every program, in the local registry
	@$(call say,builds Sluice with optimisation (about 20 min the first time))
	@cargo build $(QUIET) --release --workspace --bins
	@SLUICE_PROFILE=release tests/platform/images

up: packages ## Start the real parts: Docker, registry, NATS, Git, Kubernetes, Prometheus
	@$(PLATFORM) up

setup: ## Install and build what the machine lacks (10 to 15 min the first time)
	@$(PLATFORM) setup

down: ## Stop them
	@$(PLATFORM) down

clean: ## Stop them and remove their data, but not the tools
	@$(PLATFORM) clean

# The linker and the tools must be there before the first build.
.PHONY: packages
packages: setup

# Cargo shows its own progress on a terminal.
QUIET := $(shell [ -t 2 ] || echo --quiet)
IN_PLATFORM = eval "$$($(PLATFORM) env)";
say = printf 'sluice: %s\n' '$(1)' >&2
