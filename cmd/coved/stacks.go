package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"
)

// tellStacks has each SIGUSR1 write down what every goroutine is doing, as dockerd does, until stop is called. It needs nothing that
// a daemon which no longer answers may lack.
func tellStacks(folder string, log *slog.Logger) (stop func()) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-asked:
			case <-done:
				return
			}
			path, err := writeStacks(folder, time.Now())
			if err != nil {
				log.Error("could not write goroutine stacks", "error", err)
				continue
			}
			log.Info("goroutine stacks written", "file", path)
		}
	}()
	return func() { close(done) } // the signal stays caught: a process that ends must not be killed by one that comes late
}

// writeStacks writes them to a new file of the folder.
func writeStacks(folder string, at time.Time) (path string, err error) {
	path = filepath.Join(folder, "goroutine-stacks-"+at.UTC().Format("2006-01-02T150405.000Z")+".log")
	if err := os.MkdirAll(folder, 0o711); err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	const whole = 2 // each goroutine by itself, as after a panic
	err = pprof.Lookup("goroutine").WriteTo(file, whole)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return path, nil
}
