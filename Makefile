# Cove: build, show, test, install. `make help` lists the targets.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X github.com/cove-containers/cove/release.Commit=$(COMMIT)
GO       = CGO_ENABLED=0 go
PREFIX  ?= /usr/local

.PHONY: help binaries build demo test unit check bench install uninstall clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

binaries: ## the programs for this machine, in bin/
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

build: binaries ## the programs for this machine, and the command line for every platform in dist/
	@for p in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		os=$${p%/*}; arch=$${p#*/}; ext=; [ $$os = windows ] && ext=.exe; \
		for c in cove cove-build; do \
			echo "dist/$$c-$$os-$$arch$$ext"; \
			GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o dist/$$c-$$os-$$arch$$ext ./cmd/$$c || exit 1; \
		done; \
	done
	@for arch in amd64 arm64; do for c in coved cove-runtime; do \
		echo "dist/$$c-linux-$$arch"; \
		GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o dist/$$c-linux-$$arch ./cmd/$$c || exit 1; \
	done; done

demo: binaries ## a private engine, real containers, then everything is removed again (root)
	@scripts/demo

test: ## install from Debian what the tests need, then run every test (root)
	@scripts/test

unit: ## the tests that need neither root nor Debian's packages
	go test ./...

check: ## format, vet, static analysis, the house's order
	@scripts/check

bench: binaries ## speed and memory beside Debian's docker.io, podman and crun (root)
	@scripts/bench

install: binaries ## programs, systemd units and shell completions
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin bin/cove bin/cove-build bin/coved bin/cove-runtime
	sed 's,@PREFIX@,$(PREFIX),' packaging/cove.service > bin/cove.service
	install -D -m 0644 bin/cove.service $(DESTDIR)/etc/systemd/system/cove.service
	sed 's,@PREFIX@,$(PREFIX),' packaging/cove-registry.service > bin/cove-registry.service
	install -D -m 0644 bin/cove-registry.service $(DESTDIR)/etc/systemd/system/cove-registry.service
	install -D -m 0644 packaging/cove.socket $(DESTDIR)/etc/systemd/system/cove.socket
	bin/cove completion bash > bin/cove.bash && install -D -m 0644 bin/cove.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cove
	bin/cove completion zsh > bin/_cove && install -D -m 0644 bin/_cove $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cove
	bin/cove completion fish > bin/cove.fish && install -D -m 0644 bin/cove.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cove.fish

uninstall: ## take away what install put there; data stays in /var/lib/cove
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,cove cove-build coved cove-runtime) \
	  $(DESTDIR)/etc/systemd/system/cove.service $(DESTDIR)/etc/systemd/system/cove.socket \
	  $(DESTDIR)/etc/systemd/system/cove-registry.service \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cove $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cove \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cove.fish

clean: ## remove what was built
	rm -rf bin dist
