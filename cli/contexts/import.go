package contexts

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

func Import(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "import CONTEXT FILE|-",
		Short: "Import a context from a tar or zip file",
		Args:  command.Exactly(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, command.Nothing // the name is new
		},
		RunE: func(_ *cobra.Command, args []string) error {
			name, file := args[0], args[1]
			if err := isNew(a, name); err != nil {
				return err
			}
			var from io.Reader = a.In
			if file != "-" {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				from = f
			}
			m, certificates, err := unpack(from)
			if err != nil {
				return err
			}
			m.Name = name
			if err := a.ConfigFile().Keep(m, certificates); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, name)
			fmt.Fprintf(a.Err, "Successfully imported context %q\n", name)
			return nil
		},
	}
}

// most is how large an archive and each file in it may be, in bytes: docker's limit.
const most = 10 << 20

// unpack reads what pack, or docker's command line, has written: a tar or, from elsewhere, a zip archive.
func unpack(r io.Reader) (config.Metadata, config.Certificates, error) {
	in := bufio.NewReader(io.LimitReader(r, most+1))
	got := contents{certificates: config.Certificates{}}
	var err error
	if magic, _ := in.Peek(4); bytes.Equal(magic, []byte("PK\x03\x04")) {
		err = got.zip(in)
	} else {
		err = got.tar(in)
	}
	if err == nil && !got.described {
		err = errors.New("invalid context: no metadata found")
	}
	return got.meta, got.certificates, err
}

// contents is what was found in an archive.
type contents struct {
	meta         config.Metadata
	described    bool
	certificates config.Certificates
}

func (c *contents) tar(in io.Reader) error {
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := c.file(h.Name, r); err != nil {
			return err
		}
	}
}

func (c *contents) zip(in io.Reader) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if len(raw) > most {
		return errors.New("the archive is larger than 10 MB")
	}
	archive, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return err
	}
	for _, f := range archive.File {
		if !f.Mode().IsRegular() {
			continue
		}
		r, err := f.Open()
		if err == nil {
			err = errors.Join(c.file(f.Name, r), r.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file takes one file of the archive; others than a context is made of are refused.
func (c *contents) file(name string, r io.Reader) error {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return err
	}
	if len(content) > most {
		return fmt.Errorf("%s is larger than 10 MB", name)
	}
	certificate, isCertificate := strings.CutPrefix(path.Clean(name), "tls/")
	parts := strings.Split(certificate, "/")
	switch {
	case path.Clean(name) == "meta.json":
		c.described = true
		if err := json.Unmarshal(content, &c.meta); err != nil {
			return fmt.Errorf("meta.json: %w", err)
		}
		return nil
	case isCertificate && len(parts) == 2 && !strings.ContainsAny(name, `\:`):
		c.certificates[certificate] = content
		return nil
	}
	return fmt.Errorf("unexpected context file: %s", name)
}
