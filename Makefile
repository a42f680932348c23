# d2nwg. `make demo` and `make test` need Go and nothing else; gcc and npm make them faster.

SHELL = /bin/sh
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
TESTFLAGS ?= -p 2 -timeout 9m
FUZZTIME ?= 60
OUT ?= runs/demo

# The vector kernels and the Go training backend are many times faster with it.
export GOEXPERIMENT = simd

# cgo lets the ONNX Runtime backend in. It needs a compiler that finds the C headers.
CGO_ENABLED ?= $(shell echo '\#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 && echo 1 || echo 0)
export CGO_ENABLED

# A clone that git refuses to read (another owner) builds without its revision.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 && echo ok),ok)
export GOFLAGS += -buildvcs=false
endif

.PHONY: help build demo test race check format vet staticcheck imports fuzz fuzz-short bench deps clean

help:
	@echo 'make demo     build, then improve the bundled model and print both verdicts'
	@echo 'make test     run every test'
	@echo 'make race     run every test under the race detector (it needs cgo)'
	@echo 'make build    build bin/d2nwg'
	@echo 'make check    what CI runs: format, vet, staticcheck, imports, tests, 10 s of each fuzz target'
	@echo 'make fuzz     run every fuzz target for FUZZTIME (60) seconds'
	@echo 'make bench    run every benchmark'
	@echo 'make deps     bring the ONNX Runtime library and the official hub clients into .deps (done by demo and test;'
	@echo '              rm -r .deps to repeat)'

build:
	go build -o bin/d2nwg ./cmd/d2nwg

# improve exits with 0 (verified) or 4 (no verified improvement); the demo is done in both cases.
demo: .deps/tried-cgo$(CGO_ENABLED) build
	bin/d2nwg improve --recipe recipes/demo.yaml --out $(OUT) --progress || test $$? -eq 4
	bin/d2nwg inspect $(OUT)/candidate
	bin/d2nwg eval $(OUT)/candidate --mix rotl3+add+times

test: deps
	go test $(TESTFLAGS) ./...

# No test is left out. GoMLX alone goes without the check of pointer arithmetic that comes with the race detector: its
# AVX-512 matrix product makes pointers beyond the ends of slices, which stops the process; its memory accesses are watched.
race:
	CGO_ENABLED=1 go test -race -gcflags='github.com/gomlx/...=-d=checkptr=0' $(TESTFLAGS) ./...

check: format vet staticcheck imports test fuzz-short

format:
	@unformatted=$$(find . -name '*.go' -not -path './.deps/*' -exec gofmt -l {} +); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:"; echo "$$unformatted"; exit 1; fi

# With cgo also the tokenizer that puts the Rust library in the place of ours; to link it, see README.
vet:
	go vet ./...
	@if [ "$(CGO_ENABLED)" = 1 ]; then echo 'go vet -tags hftokenizers ./...'; go vet -tags hftokenizers ./...; \
	else echo 'go vet -tags hftokenizers: SKIPPED (it needs cgo)'; fi

# Without a network and with a cold module cache the tool cannot be had; that is said, and is no failure of the code.
staticcheck:
	@if go run $(STATICCHECK) -version; then echo 'staticcheck ./...'; go run $(STATICCHECK) ./...; \
	else echo 'staticcheck could not be fetched: SKIPPED'; fi

imports:
	go test ./internal/imports

fuzz:
	./.ci/fuzz $(FUZZTIME)

fuzz-short:
	./.ci/fuzz 10

bench:
	go test -run '^$$' -bench . -benchmem ./...

# One attempt for each answer to "is there a C compiler"; the stamps make later calls instant.
deps: .deps/tried-cgo$(CGO_ENABLED) .deps/tried-hub

.deps/tried-cgo$(CGO_ENABLED): .ci/deps
	@mkdir -p .deps
	@./.ci/deps $(CGO_ENABLED) || true
	@touch $@

.deps/tried-hub: .ci/deps-hub internal/tools/hub/package-lock.json
	@mkdir -p .deps
	@./.ci/deps-hub || true
	@touch $@

clean:
	rm -rf bin runs
