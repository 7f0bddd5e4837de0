//go:build !windows

package cli

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSignalBeforeStart(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&signaled{syscall.SIGTERM})
	_, _, code := f.cove(ctx, "", "run", "busybox")
	if code != 143 || strings.Contains(f.seen(), "start") || !strings.HasSuffix(f.seen(), "DELETE /containers/id") {
		t.Errorf("got %d, %s", code, f.seen())
	}
}

func TestSignalIsForwarded(t *testing.T) {
	f := newFake(t)
	f.script = script{hold: true, code: 5}
	go func() {
		<-f.started
		time.Sleep(20 * time.Millisecond)
		_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	}()
	_, _, code := f.cove(t.Context(), "", "run", "busybox")
	if code != 5 || !strings.Contains(f.seen(), "kill") {
		t.Errorf("got %d, %s", code, f.seen())
	}
}

func TestSignalWithoutProxy(t *testing.T) {
	f := newFake(t)
	f.script = script{hold: true}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-f.started
		time.Sleep(20 * time.Millisecond)
		cancel(&signaled{syscall.SIGTERM})
	}()
	_, errs, code := f.cove(ctx, "", "run", "--sig-proxy=false", "busybox")
	if code != 143 || strings.Contains(f.seen(), "kill") || errs != "WARNING: careful\n" {
		t.Errorf("got %d, %q, %s", code, errs, f.seen())
	}
}
