# Switchyard: `make help` lists the targets.

VENV  := .venv
BIN   := $(VENV)/bin
DONE  := $(VENV)/.done
STACK ?= $(if $(wildcard $(DONE)/gpu),gpu,cpu)
PIP    = scripts/uv pip
CACHE  = $${XDG_CACHE_HOME:-$$HOME/.cache}/switchyard

ifeq ($(filter $(STACK),cpu gpu),)
$(error STACK is "$(STACK)": it can be cpu or gpu)
endif

# Ray and vLLM start many processes, and without .pyc files each of them compiles vLLM's sources again.
unexport PYTHONDONTWRITEBYTECODE

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install dev serve chat locust bench bench-gpu bench-file test unit live e2e kube-up kube-down kube-needs kube-image kube-gateway image lint format lock clean

help: ## Show this list
	@echo "make TARGET [STACK=cpu|gpu] [ARGS=\"...\"]"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

install: $(DONE)/project ## Install the serve stack into .venv (STACK=gpu for NVIDIA GPUs)

dev: install $(DONE)/cluster $(DONE)/bench $(DONE)/dev ## Install everything else too: for `switchyard cluster`, `bench`, tests and checks

serve: install ## Serve the models, until Ctrl-C (ARGS go to `switchyard serve`)
	@exec $(BIN)/switchyard serve $(ARGS)

chat: install ## Chat with a served model (ARGS go to `switchyard chat`)
	@exec $(BIN)/switchyard chat $(ARGS)

locust: install $(DONE)/locust ## Load a service with Locust, see docs/bench.md (ARGS go to `locust`)
	@exec $(BIN)/locust -f examples/locustfile.py $(ARGS)

bench: dev $(DONE)/peers ## Measure Switchyard beside `vllm serve` and ray.serve.llm, see docs/bench.md (ROUNDS=5, ARGS="--quick")
	@exec $(if $(ROUNDS),env ROUNDS=$(ROUNDS)) $(BIN)/python -m bench.peers $(ARGS)

bench-gpu: dev $(DONE)/peers ## The same on this machine's NVIDIA GPU, with a model of Gemma 2 2B's shape (STACK=gpu)
	@exec $(if $(ROUNDS),env ROUNDS=$(ROUNDS)) $(BIN)/python -m bench.peers --gpu --model gemma-2-2b-random \
		--concurrency 1,8,32,64,128 --max-num-seqs 128 --runs build/peers-gpu --result build/bench-gpu.json $(ARGS)

bench-file: dev ## Write build/bench.pyz: the same as one file, for a machine that only files can be carried to
	@$(BIN)/python -m bench.peers.bundle build/bench.pyz && ls -l build/bench.pyz

test: unit live ## Run the whole test suite, unit tests first

unit: dev ## Run the tests that need neither Ray nor vLLM (ARGS go to pytest)
	@echo "==> Unit tests"
	@exec $(BIN)/pytest -m "not live and not e2e and not slow" -q $(ARGS)

live: dev ## Run the tests that start real Ray and vLLM (ARGS go to pytest)
	@echo "==> Live tests"
	@exec $(BIN)/pytest -m "live and not slow" -q $(ARGS)

e2e: dev ## Run the tests that need Kubernetes and KubeRay: $$KUBECONFIG's, else a local one (ARGS go to pytest)
	@test -n "$$KUBECONFIG$$SWITCHYARD_E2E_KUBECONFIG" || { scripts/kube-needs.sh && $(BIN)/python -m tests.e2e.kube build; }
	@echo "==> End-to-end tests"
	@exec $(BIN)/pytest -m "e2e and not slow" -q $(ARGS)

kube-up: dev ## Start a real Kubernetes with KubeRay on this machine (Linux, root, Go), see docs/kubernetes-local.md
	@scripts/kube-needs.sh
	@echo "==> Local Kubernetes"
	@exec $(BIN)/python -m tests.e2e.kube up

kube-down: dev ## End it, and check that nothing is left
	@exec $(BIN)/python -m tests.e2e.kube down

kube-needs: dev ## Install what a local cluster needs, and say what this machine lacks
	@scripts/kube-needs.sh && exec $(BIN)/python -m tests.e2e.kube needs

kube-image: dev ## Load the project's code into the running cluster's image again
	@exec $(BIN)/python -m tests.e2e.kube image

kube-gateway: dev ## Give the running cluster the Gateway API (Traefik, which the first time takes minutes to build)
	@exec $(BIN)/python -m tests.e2e.kube gateway

image: ## Build the image of a RayService's pods, with docker or buildah (IMAGE=NAME:TAG, IMAGE_STACK=gpu|cpu)
	@test -n "$(IMAGE)" || { echo "Name it: make image IMAGE=REGISTRY/PROJECT/switchyard:0.1.0" >&2; exit 2; }
	@tool=$$(command -v docker || command -v buildah) || { echo "make image needs docker or buildah." >&2; exit 1; }; \
	exec $$tool build --build-arg STACK=$(or $(IMAGE_STACK),gpu) --tag $(IMAGE) .

lint: dev ## Check style, types and layering
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format"
	@$(BIN)/ruff format --check .
	@echo "==> pyright"
	@$(BIN)/pyright
	@echo "==> lint-imports"
	@$(BIN)/lint-imports --no-logo

format: dev ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: $(VENV)/pyvenv.cfg ## Lock requirements/*.txt anew (UPGRADE=1 for the newest versions)
	@UPGRADE=$(UPGRADE) scripts/lock.sh

clean: ## Remove .venv and every cache that Switchyard made, models included
	@! test -e "$(CACHE)/kube/run" || $(BIN)/python -m tests.e2e.kube down
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf "$(CACHE)"

# What is installed: a stamp file for each step, made anew when what it was made from changes.

$(VENV)/pyvenv.cfg:
	@scripts/venv.sh

$(DONE)/$(STACK): requirements/$(STACK).txt | $(VENV)/pyvenv.cfg
	@echo "==> Installing the $(STACK) serve stack"
	@test $(STACK) = gpu || scripts/libnuma.sh
	@rm -rf $(DONE)
	@$(PIP) sync --python $(VENV) --require-hashes --only-binary :all: $<
	@mkdir -p $(DONE) && touch $@

$(DONE)/project: $(DONE)/$(STACK) pyproject.toml requirements/base.in
	@echo "==> Installing switchyard itself"
	@$(PIP) install --quiet --python $(VENV) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

$(DONE)/cluster: $(DONE)/project requirements/cluster.txt
	@echo "==> Installing Google's and Kubernetes' client libraries"
	@$(PIP) install --python $(VENV) --no-deps --require-hashes --only-binary :all: -r requirements/cluster.txt
	@touch $@

$(DONE)/bench: $(DONE)/project requirements/bench.txt
	@echo "==> Installing what draws the bench's reports"
	@$(PIP) install --python $(VENV) --no-deps --require-hashes --only-binary :all: -r requirements/bench.txt
	@touch $@

$(DONE)/locust: $(DONE)/project requirements/locust.txt
	@echo "==> Installing Locust"
	@$(PIP) install --python $(VENV) --no-deps --require-hashes --only-binary :all: -r requirements/locust.txt
	@touch $@

$(DONE)/peers: $(DONE)/project requirements/peers.txt scripts/peers.sh
	@echo "==> Installing what ray.serve.llm needs beside the serve stack, into a folder of its own"
	@scripts/peers.sh
	@touch $@

$(DONE)/dev: $(DONE)/project requirements/dev.txt
	@echo "==> Installing the tools for tests and checks"
	@$(PIP) install --python $(VENV) --no-deps --require-hashes --only-binary :all: -r requirements/dev.txt
	@touch $@
