package contexts

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

func Export(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "export CONTEXT [FILE|-]",
		Short:             "Export a context to a tar archive FILE or a tar stream on STDOUT",
		Args:              command.Between(1, 2),
		ValidArgsFunction: completeThenFile(a),
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			file := name + ".dockercontext"
			if len(args) == 2 {
				file = args[1]
			}
			if name != "default" {
				if err := config.CheckName(name); err != nil {
					return err
				}
			}
			m, certificates, err := a.ConfigFile().Whole(name, a.Global.Choice)
			if err != nil {
				return err
			}
			var archive bytes.Buffer
			if err := pack(&archive, m, certificates); err != nil {
				return err
			}
			if file == "-" {
				if a.OutputIsTerminal() {
					return errors.New("cowardly refusing to export to a terminal, specify a file path")
				}
				_, err := a.Out.Write(archive.Bytes())
				return err
			}
			if err := writeNew(file, archive.Bytes()); err != nil {
				return err
			}
			fmt.Fprintf(a.Err, "Written file %q\n", file)
			return nil
		},
	}
}

// completeThenFile offers contexts for the first argument and files for the second.
func completeThenFile(a *command.App) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return a.CompleteContexts(cmd, args, word)
	}
}

// writeNew writes a file that must not be there yet: it may hold keys, so nobody else may read it.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// pack writes a context in the form in which docker's command line exports it.
func pack(w io.Writer, m config.Metadata, certificates config.Certificates) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	add := func(h *tar.Header, content []byte) {
		if err == nil {
			err = out.WriteHeader(h)
		}
		if err == nil {
			_, err = out.Write(content)
		}
	}
	add(&tar.Header{Name: "meta.json", Mode: 0o644, Size: int64(len(raw))}, raw)
	add(&tar.Header{Name: "tls", Typeflag: tar.TypeDir, Mode: 0o700}, nil)
	last := ""
	for _, name := range slices.Sorted(maps.Keys(certificates)) {
		if dir := path.Dir(name); dir != last {
			add(&tar.Header{Name: path.Join("tls", dir), Typeflag: tar.TypeDir, Mode: 0o700}, nil)
			last = dir
		}
		content := certificates[name]
		add(&tar.Header{Name: path.Join("tls", name), Mode: 0o600, Size: int64(len(content))}, content)
	}
	return errors.Join(err, out.Close())
}
