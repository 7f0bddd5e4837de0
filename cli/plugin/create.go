package plugin

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/local"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/ref"
	"github.com/moby/moby/api/types/plugin"
	"github.com/spf13/cobra"
)

func Create(a *command.App) *cobra.Command {
	var compress bool
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] PLUGIN PLUGIN-DATA-DIR",
		Short: "Create a plugin from a folder with its config.json and rootfs",
		Args:  command.AtLeast(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return nil, command.Nothing
		},
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if _, err := ref.Parse(args[0]); err != nil {
				return err
			}
			dir, err := folder(args[1])
			if err != nil {
				return err
			}
			read, write := io.Pipe()
			go func() { write.CloseWithError(pack(write, dir, compress)) }()
			err = daemon.PluginCreate(ctx, args[0], read)
			read.Close()
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, args[0])
			return nil
		}),
	}
	cmd.Flags().BoolVar(&compress, "compress", false, "Compress the context using gzip")
	return cmd
}

// folder gives the folder of a plugin, if it is one and its config.json can be read.
func folder(given string) (string, error) {
	dir, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", errors.New("context must be a directory")
	}
	f, err := os.Open(filepath.Join(given, "config.json"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var c plugin.Config
	return dir, json.NewDecoder(f).Decode(&c)
}

// pack writes what is in dir as a tar archive.
func pack(w io.Writer, dir string, compress bool) error {
	if !compress {
		return local.Pack(w, dir, ".")
	}
	z := gzip.NewWriter(w)
	if err := local.Pack(z, dir, "."); err != nil {
		return err
	}
	return z.Close()
}
