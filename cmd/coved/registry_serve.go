package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/local"
	"github.com/cove-containers/cove/repository/s3"
)

// defaultRegistryRoot is where a registry that stands alone keeps everything.
const defaultRegistryRoot = "/var/lib/cove-registry"

// serveSettings are the flags of "coved registry serve".
type serveSettings struct {
	registrySettings
	logging  settings // of which only the log's are used
	validate bool
	flags    *pflag.FlagSet
}

func newServeSettings() *serveSettings {
	s := &serveSettings{logging: settings{level: new(slog.LevelVar)}}
	f := pflag.NewFlagSet("coved registry serve", pflag.ContinueOnError)
	s.flags = f
	f.StringArrayVar(&s.listen, "listen", []string{"localhost:5000"}, "Address to listen on, [HOST]:PORT, or fd:// for sockets of systemd")
	f.StringVar(&s.root, "root", defaultRegistryRoot, "Folder of the registry's data")
	f.StringVar(&s.s3.Bucket, "s3-bucket", "", "Keep the data in this bucket of an S3-compatible store instead")
	f.StringVar(&s.s3.Endpoint, "s3-endpoint", "", "URL of the S3-compatible store (default: Amazon's, in the region)")
	f.StringVar(&s.s3.Region, "s3-region", os.Getenv("AWS_REGION"), "Region of the bucket")
	f.StringVar(&s.s3.Prefix, "s3-prefix", "", "Begin of every object's name in the bucket")
	f.BoolVar(&s.s3.VirtualHosts, "s3-virtual-hosts", false, "Name the bucket in the host rather than in the path")
	f.StringArrayVar(&s.certsDirs, "certs-dir", []string{"/etc/cove/certs.d", "/etc/docker/certs.d"}, "Folders with a folder of certificates for each registry that is cached")
	s.add(f, "")
	f.StringVarP(&s.logging.logLevel, "log-level", "l", "info", "Set the logging level (debug, info, warn, error, fatal)")
	f.StringVar(&s.logging.logFormat, "log-format", "text", "Set the logging format (text, json)")
	f.BoolVar(&s.validate, "validate", false, "Check the options and exit")
	return s
}

func readServeSettings(args []string) (*serveSettings, error) {
	s := newServeSettings()
	s.flags.Usage = func() { s.usage(os.Stderr) }
	if err := s.flags.Parse(args); err != nil {
		return nil, err
	}
	if s.flags.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", s.flags.Arg(0))
	}
	if s.s3.Bucket == "" {
		for _, name := range []string{"s3-endpoint", "s3-prefix", "s3-virtual-hosts"} {
			if s.flags.Changed(name) {
				return nil, fmt.Errorf("--%s without a bucket: give --s3-bucket", name)
			}
		}
	} else if s.flags.Changed("root") {
		return nil, errors.New("the data is either in --root or in --s3-bucket")
	}
	if err := s.logging.setLevel(); err != nil {
		return nil, err
	}
	var err error
	if s.root, err = filepath.Abs(s.root); err != nil {
		return nil, err
	}
	s.spool = filepath.Join(s.root, "tmp")
	if s.s3.Bucket != "" {
		s.spool = os.TempDir()
	}
	return s, s.check()
}

func (s *serveSettings) usage(w io.Writer) {
	fmt.Fprintf(w, "Usage: cove registry serve [OPTIONS]\n\nAn OCI registry. Keys for S3 are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials\nor the machine's role.\n\nOptions:\n%s", s.flags.FlagUsages())
}

// storage opens what the registry's data is kept in.
func (s *serveSettings) storage(ctx context.Context) (repository.Storage, error) {
	if s.s3.Bucket != "" {
		return s3.Open(ctx, s.s3)
	}
	return local.Open(s.root)
}

// serveRegistry is the life of a registry that stands alone.
func serveRegistry(args []string) error {
	s, err := readServeSettings(args)
	if err != nil {
		return err
	}
	if s.validate {
		fmt.Println("configuration OK")
		return nil
	}
	syscall.Umask(0o077)
	log := newLog(&s.logging)
	slog.SetDefault(log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	storage, err := s.storage(ctx)
	if err != nil {
		return err
	}
	d, err := openRegistry(ctx, &s.registrySettings, storage, log)
	if err != nil {
		return err
	}
	defer d.close()
	log.Info("registry ready", "version", release.Version)
	notifySystemd("READY=1")
	err = d.serve(ctx)
	notifySystemd("STOPPING=1")
	return err
}

// registryCommand picks the command below "coved registry"; there is one.
func registryCommand(args []string) error {
	if len(args) == 0 || args[0] != "serve" {
		return fmt.Errorf("unknown command %q: want \"coved registry serve\"", strings.Join(append([]string{"registry"}, args...), " "))
	}
	return serveRegistry(args[1:])
}
