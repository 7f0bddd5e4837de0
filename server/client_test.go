package server

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	ct "github.com/moby/moby/api/types/container"
	st "github.com/moby/moby/api/types/system"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/release"
)

// docker runs the stock client against the socket.
func docker(t *testing.T, path, stdin, version string, args ...string) (string, int) {
	t.Helper()
	binary, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("the docker command is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"-H", "unix://" + path}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
	if version != "" {
		cmd.Env = append(cmd.Env, "DOCKER_API_VERSION="+version)
	}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestStockClientNegotiates(t *testing.T) {
	p := samples()
	p.System = fakeSystem{version: st.VersionResponse{Version: release.Version, APIVersion: api.Version, MinAPIVersion: api.MinVersion, Os: "linux", Arch: "amd64"}}
	_, path := serve(t, p)
	out, code := docker(t, path, "", "", "version", "--format", "{{.Server.APIVersion}} {{.Server.Version}}")
	if code != 0 || out != api.Version+" "+release.Version+"\n" {
		t.Errorf("%d %s", code, out)
	}
	for version, want := range map[string]string{
		"":     "c busybox Up 1 second 81/udp, :::8080->80/tcp\n",
		"1.24": "c busybox Up 1 second 81/udp, :::8080->80/tcp\n",
		"1.23": "Error response from daemon: client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n",
		"1.99": "Error response from daemon: client version 1.99 is too new. Maximum supported API version is 1.56\n",
	} {
		out, _ := docker(t, path, "", version, "ps", "--format", "{{.Names}} {{.Image}} {{.Status}} {{.Ports}}")
		if strings.ReplaceAll(out, "[::]", "::") != want {
			t.Errorf("API %q: %s", version, out)
		}
	}
	if out, code := docker(t, path, "", "", "node", "ls"); code != 1 || !strings.Contains(out, "This node is not a swarm manager.") {
		t.Errorf("%d %s", code, out)
	}
	if out, code := docker(t, path, "", "", "plugin", "disable", "c"); code != 1 || !strings.Contains(out, `Error response from daemon: plugin "c" not found`) {
		t.Errorf("%d %s", code, out)
	}
}

// TestStockClientRuns goes the way of docker run: create, attach, wait, start, and the exit code at the end.
func TestStockClientRuns(t *testing.T) {
	started := make(chan struct{})
	exited := make(chan ct.WaitResponse, 1)
	p := Parts{
		Lives: fakeLives{
			create: func(engine.CreateOptions) (ct.CreateResponse, error) {
				return ct.CreateResponse{ID: strings.Repeat("c", 64)}, nil
			},
			start: func(string) error { close(started); return nil },
		},
		Streams: fakeStreams{
			attach: func(_ context.Context, o engine.AttachOptions) error {
				conn, err := o.Open(false)
				if err != nil {
					return err
				}
				<-started
				input, err := io.ReadAll(conn)
				if err != nil {
					return err
				}
				if _, err := stdcopyWrite(conn, 1, append([]byte("out "), input...)); err != nil {
					return err
				}
				if _, err := stdcopyWrite(conn, 2, []byte("err\n")); err != nil {
					return err
				}
				exited <- ct.WaitResponse{StatusCode: 7}
				return conn.CloseWrite()
			},
			wait: func(context.Context, ct.WaitCondition) (<-chan ct.WaitResponse, error) { return exited, nil },
		},
	}
	_, path := serve(t, p)
	out, code := docker(t, path, "hello\n", "", "run", "-i", "busybox", "cat")
	if code != 7 || out != "out hello\nerr\n" {
		t.Errorf("%d %q", code, out)
	}
}
