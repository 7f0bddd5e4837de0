package system

import (
	"context"
	"io"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// DialStdio is what a client that has come by ssh runs.
func DialStdio(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:    "dial-stdio",
		Short:  "Join standard input and output with the daemon's socket",
		Args:   command.NoArgs,
		Hidden: true,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			conn, err := daemon.Dial(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			go func() { // reads until this program ends
				if _, err := io.Copy(conn, a.In); err != nil {
					return
				}
				if half, ok := conn.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite() // the daemon has gone: reading tells
				}
			}()
			// What the daemon has to say ends it: the client may still hold its own side open.
			_, err = io.Copy(a.Out, conn)
			return err
		}),
	}
}
