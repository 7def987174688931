# Everything a person or CI does here. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A toolchain that scripts/setup has just installed is not yet on the caller's PATH.
export PATH := $(HOME)/.cargo/bin:$(PATH)
export CARGO_TARGET_DIR ?= $(CURDIR)/target

# `make run` serves an optimised build; the tests use the dev profile, whose overflow checks and debug assertions are on
# and whose dependencies `cargo test` has built already. `make run PROFILE=dev` is quicker to build.
PROFILE ?= release
PROFILE_DIR = $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

PYTHON := .venv/bin/python
PYTEST := .venv/bin/pytest
TEST_BINARY := $(CARGO_TARGET_DIR)/debug/mayfly
XTASK := $(CARGO_TARGET_DIR)/debug/xtask

##@ Use
run: build .venv/.ready ## build, start on 127.0.0.1:4566, deploy and invoke a hello-world function, keep serving
	MAYFLY_BIN="$(CARGO_TARGET_DIR)/$(PROFILE_DIR)/mayfly" scripts/demo

build: setup ## the binary, in target/release
	cargo build --locked --profile $(PROFILE) -p server

release: setup ## the binary to hand out, built twice and a quarter quicker, in target/counted/release
	scripts/release

install: build ## copy the binary to ~/.local/bin (or PREFIX/bin)
	install -D -m 0755 "$(CARGO_TARGET_DIR)/$(PROFILE_DIR)/mayfly" "$(or $(PREFIX),$(HOME)/.local)/bin/mayfly"

##@ Check
test: fmt clippy tidy docs unit pytest ## everything that .ci/run checks

fmt: .venv/.ready ## formatting, and lints of the tests
	cargo fmt --all --check
	.venv/bin/ruff format --check --quiet
	.venv/bin/ruff check --quiet

clippy: setup ## lints, warnings denied
	cargo clippy --locked --workspace --all-targets -- -D warnings

tidy: test-binary ## the house rules that a program can check
	"$(XTASK)" tidy

docs: setup ## the pages of the public items, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

unit: setup ## cargo test
	cargo test --locked --workspace

pytest: test-binary .venv/.ready ## real clients against the built binary; ARGS="-k name" chooses
	MAYFLY_BIN="$(TEST_BINARY)" OPERATIONS="$(CARGO_TARGET_DIR)/operations.json" $(PYTEST) --numprocesses 2 --dist loadfile $(ARGS)

# The same packages and targets as `cargo test` builds: with fewer, other features of third-party crates would be chosen,
# and all of them compiled once more.
test-binary: setup
	cargo build --locked --workspace --all-targets
	"$(XTASK)" operations > "$(CARGO_TARGET_DIR)/operations.json"

##@ Keep up
coverage: test-binary .venv/.ready ## write the generated pages of docs/ anew
	OPERATIONS="$(CARGO_TARGET_DIR)/operations.json" $(PYTHON) tests/referee.py --write
	"$(TEST_BINARY)" config-reference > docs/configuration.md

requirements: .venv/.ready ## pin tests/requirements.txt anew
	$(PYTHON) -m pip install --quiet pip-tools
	cd tests && for name in requirements awslambdaric; do ../.venv/bin/pip-compile --quiet --upgrade --generate-hashes \
		--strip-extras --no-emit-index-url --no-emit-trusted-host --no-header --output-file $$name.txt $$name.in; done

sdk-pins: ## pin the SDKs of `mayfly runtime add-sdk` anew, for the Python versions that are on this machine
	scripts/sdk-pins

bench: build ## everything that is measured, beside its floors; BINARY=path for another than `make build` made
	cargo run --locked --profile $(PROFILE) -p bench -- --mayfly "$(or $(BINARY),$(CARGO_TARGET_DIR)/$(PROFILE_DIR)/mayfly)"

fuzz: setup ## every fuzz target for FOR seconds (60)
	scripts/fuzz $(or $(FOR),60)

setup: ## install what is missing: compiler, Rust, Python
	@scripts/setup

.venv/.ready: tests/requirements.txt scripts/venv
	@scripts/venv

help:
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run build release install test fmt clippy tidy docs unit pytest test-binary coverage requirements sdk-pins bench fuzz setup help
