# The words to learn, and no more. CMakeLists.txt and CMakePresets.json decide everything; this
# file only gives it short names. `make help` lists them.
#
#   make run PORT=9000        another port; MODEL=file.gguf: another model; PROMPT="..."
#   make test ARGS="-R pool"  ctest's own options
#   make fuzz SECONDS=600     seconds for each target; TARGET=gguf: one target only
.DEFAULT_GOAL := release
.PHONY: release run test bench lint asan tsan fuzz format clean help

export PORT PROMPT MODEL ARGS TARGET
SECONDS ?= 60

release: ## build/sluice, the release program
	@tools/setup.sh build
	@tools/build.sh release

run: ## from nothing: install, build, fetch a model, answer a prompt, serve it on 127.0.0.1:8080
	@tools/run.sh

test: ## from nothing: install, build, and run every test
	@tools/test.sh

bench: ## time the kernels and the model
	@tools/bench.sh

lint: ## rules of the tree, formatting, clang-tidy
	@tools/setup.sh lint
	@tools/lint.sh

asan: ## the tests under the address, leak and undefined-behaviour sanitizers
	@tools/setup.sh test
	@tools/sanitize.sh asan

tsan: ## the tests that use threads under the thread sanitizer
	@tools/setup.sh test
	@tools/sanitize.sh tsan

fuzz: ## every fuzz target under libFuzzer for SECONDS each
	@tools/setup.sh fuzz
	@tools/fuzz.sh $(SECONDS)

format: ## clang-format over the sources
	@tools/setup.sh lint
	@tools/lint.sh --fix

clean: ## remove build/ (the cache of fetched packages stays)
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
