package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Save(a *command.App) *cobra.Command {
	var output string
	var platforms []string
	cmd := &cobra.Command{
		Use:               "save [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Save one or more images to a tar archive (streamed to STDOUT by default)",
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("image save", "save"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			wanted, err := parsePlatforms(platforms)
			if err != nil {
				return err
			}
			if output == "" && a.OutputIsTerminal() {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			archive, err := daemon.ImageSave(ctx, args, wanted)
			if err != nil {
				return err
			}
			defer archive.Close()
			if output == "" {
				_, err = io.Copy(a.Out, archive)
				return err
			}
			return writeFile(output, archive)
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "", "Write to this file instead of STDOUT")
	fs.StringSliceVar(&platforms, "platform", nil, `Save only these platforms, "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	return cmd
}

// checkOutput refuses a file that cannot be written before anything is asked for.
func checkOutput(path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("failed to save image: invalid output path: stat %s: no such file or directory", dir)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeDevice == 0 {
		return fmt.Errorf("failed to save image: cannot write to a %s", strings.TrimSpace(kindOf(info)))
	}
	return nil
}

func kindOf(info os.FileInfo) string {
	if info.IsDir() {
		return "directory"
	}
	return "special file"
}

// writeFile puts all of r into path, or leaves path as it was.
func writeFile(path string, r io.Reader) error {
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeDevice != 0 {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(f, r)
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = io.Copy(temp, r)
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
