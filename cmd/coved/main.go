// Command coved is the daemon of the Cove container engine: it takes dockerd's flags and daemon.json keys where it
// has the same feature, opens the keepers floor by floor, and serves the Docker Engine API.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/server/listen"
	"github.com/cove-containers/cove/server/metrics"
)

// grace is how long requests in progress may take to finish when the daemon ends.
const grace = 10 * time.Second

func main() {
	start, what, args := run, "daemon", os.Args[1:]
	if len(args) > 0 && args[0] == "registry" {
		start, what, args = registryCommand, "registry", args[1:]
	}
	err := start(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "failed to start %s: %v\n", what, err)
		os.Exit(1)
	}
}

// run is the daemon's life from its arguments to its end.
func run(args []string) error {
	s, err := readSettings(args)
	if err != nil {
		return err
	}
	switch {
	case s.version:
		fmt.Printf("Cove version %s, build %s\n", release.Version, release.Commit)
		return nil
	case s.validate:
		fmt.Println("configuration OK")
		return nil
	}
	// Files in containers and sockets get the modes meant for them, whatever the caller's mask.
	syscall.Umask(0o022)
	log := newLog(s)
	slog.SetDefault(log)
	if err := s.surround(log); err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	defer tellStacks(s.execRoot, log)()

	d, err := open(ctx, s, log)
	if err != nil {
		return err
	}
	defer d.close()
	go func() {
		for range hangups {
			if err := d.reload(args, s.level, log); err != nil {
				log.Error("could not reload the configuration", "file", s.configFile, "error", err)
			}
		}
	}()
	log.Info("API listen", "hosts", s.hosts, "version", release.Version)
	notifySystemd("READY=1")
	servers := []func(context.Context) error{func(ctx context.Context) error {
		return listen.Service{Handler: d.server, Drain: d.server.Drain, Log: log, Grace: grace, HTTP2: true}.Serve(ctx, d.listeners)
	}}
	if d.registry != nil {
		servers = append(servers, d.registry.serve)
	}
	if d.metrics != nil {
		servers = append(servers, func(ctx context.Context) error {
			return listen.Service{Handler: metrics.Handler(d.engine.Info), Log: log, Grace: grace}.Serve(ctx, []net.Listener{d.metrics})
		})
	}
	err = together(ctx, servers...)
	notifySystemd("STOPPING=1")
	return err
}
