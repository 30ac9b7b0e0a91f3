# `make serve` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help setup serve test check fmt lock docs image image-lock dist bench bench-quick bench-full

BIN := .venv/bin
# Passed to `moorage serve` and to pytest: make serve ARGS='--listen 127.0.0.1:5001', make test ARGS='-k upload'
ARGS ?=

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1@\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F@ '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## create or renew .venv from requirements.lock and install the command .venv/bin/moorage
	@scripts/setup

serve: setup ## set up, then run the registry (ARGS='--listen 127.0.0.1:5001' and so on)
	@exec $(BIN)/moorage serve $(ARGS)

test: ## set up, then run every test this machine can run (ARGS='-k upload' and so on)
	@scripts/setup dev
	@exec $(BIN)/pytest $(ARGS)

check: ## lint, format, types, import rules, documentation
	@scripts/setup dev
	@scripts/check

fmt: ## sort imports, mend what ruff can mend, format
	@scripts/setup dev
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format --quiet

docs: setup ## write the generated pages of docs/reference anew
	@$(BIN)/python -m moorage.settings.reference >.cache/settings.md
	@mv .cache/settings.md docs/reference/settings.md
	@$(BIN)/python scripts/reference.py

lock: ## resolve the dependencies anew into requirements.lock and requirements-dev.lock
	@scripts/lock

image: setup ## build the container image into dist/, for `docker load` (ARGS='--arch arm64' for another)
	@$(BIN)/python -m image.build $(ARGS)

image-lock: setup ## renew the versions of the image's Debian packages
	@$(BIN)/python -m image.build --lock

dist: setup ## what people install from: the wheel, images for amd64 and arm64, checksums
	@rm -rf dist
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@$(BIN)/python -m image.build --arch amd64 --arch arm64 --layout
	@cd dist && gzip -n *64.tar && sha256sum moorage* >SHA256SUMS && cat SHA256SUMS

bench: ## speed beside every peer that is here, in half an hour (ARGS=--keep, ARGS='--program zot=PATH')
	@scripts/setup dev
	@exec $(BIN)/python -m bench --usual $(ARGS)

bench-quick: ## the same in some three minutes, beside registry:3 only
	@scripts/setup dev
	@exec $(BIN)/python -m bench --quick $(ARGS)

bench-full: ## Moorage alone with a million repositories and a million tags
	@scripts/setup dev
	@exec $(BIN)/python -m bench --full $(ARGS)
