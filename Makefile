# What can be done here. Each recipe is one line; what needs more stands in .ci/.
.PHONY: build run check test e2e long fuzz bench lint

build: # one static binary: bin/sluice
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/sluice ./cmd/sluice

run: build # the gateway with its built-in upstream: no configuration, no account, no network
	bin/sluice serve

check: # all that must hold before a change is kept; what CI runs
	.ci/check

test: # unit and conformance tests
	go test -race ./...

e2e: # the real binary, with the official SDKs as clients
	.ci/tools && SLUICE_E2E=full go test -count=1 ./internal/e2e/...

long: # the reliability checks in full size: some 165 minutes
	.ci/tools && .ci/long

fuzz: # every fuzz target, a minute each
	.ci/fuzz 60s

bench: build # speed and memory beside a bare reverse proxy
	bin/sluice bench --compare

lint: # format and lint; `.ci/lint fix` mends what can be mended
	.ci/tools && .ci/lint
