// Command session uses the Docker SDK for Go as it was before it became a module of its own: what differs from one version to
// the next is in the file age.go beside each version's go.mod.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, opts := range [][]client.Opt{{client.FromEnv}, {client.FromEnv, client.WithAPIVersionNegotiation()}} {
		c := must(client.NewClientWithOpts(opts...))
		session(ctx, c)
		fmt.Println("API", c.ClientVersion(), "is well")
	}
}

func session(ctx context.Context, c *client.Client) {
	must(c.Ping(ctx))
	info := must(c.Info(ctx))
	that(info.OSType == "linux" && info.Driver != "" && info.Images == 1, info)
	that(must(c.ServerVersion(ctx)).Os == "linux", "version")
	images := must(c.ImageList(ctx, types.ImageListOptions{}))
	that(len(images) == 1 && images[0].RepoTags[0] == "busybox:latest" && images[0].Size > 0, images)
	image, _, err := c.ImageInspectWithRaw(ctx, "busybox")
	check(err)
	that(image.ID == images[0].ID && image.RootFS.Type == "layers" && image.Config != nil, image)
	_, _, err = c.ImageInspectWithRaw(ctx, "nosuch")
	that(client.IsErrNotFound(err), err)

	events, eventErrs := c.Events(ctx, types.EventsOptions{Filters: filters.NewArgs(filters.Arg("type", "container"))})
	net := must(c.NetworkCreate(ctx, "sdk", types.NetworkCreate{CheckDuplicate: true, Labels: map[string]string{"a": "b"}, IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: os.Getenv("SUBNET")}}}}))
	makeVolume(ctx, c, "sdk")
	box := must(c.ContainerCreate(ctx, &container.Config{
		Image: "busybox", Cmd: []string{"sh", "-c", "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep .1; done"},
		Env: []string{"A=1"}, ExposedPorts: nat.PortSet{"80/tcp": {}}, Labels: map[string]string{"l": ""}, Hostname: "box",
		Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"}, Interval: time.Second},
	}, &container.HostConfig{
		Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "sdk", Target: "/v"}}, PortBindings: nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1"}}},
		Resources: container.Resources{Memory: 64 << 20}, NetworkMode: "sdk", RestartPolicy: container.RestartPolicy{Name: "no"},
	}, &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"sdk": {Aliases: []string{"other"}}}}, nil, "sdk"))
	check(c.ContainerStart(ctx, box.ID, types.ContainerStartOptions{}))
	j := must(c.ContainerInspect(ctx, "sdk"))
	that(j.State.Running && j.State.Pid > 0 && j.NetworkSettings.Networks["sdk"].IPAddress != "", j.State)
	that(j.NetworkSettings.Ports["80/tcp"][0].HostPort != "", j.NetworkSettings.Ports)
	that(j.HostConfig.Memory == 64<<20 && j.Mounts[0].Name == "sdk" && j.Config.Hostname == "box", j.HostConfig)
	list := must(c.ContainerList(ctx, types.ContainerListOptions{Filters: filters.NewArgs(filters.Arg("label", "l"))}))
	that(len(list) == 1 && list[0].State == "running" && list[0].Ports[0].PrivatePort == 80, list)

	var out, errOut bytes.Buffer
	for range 100 {
		out.Reset()
		errOut.Reset()
		logs := must(c.ContainerLogs(ctx, box.ID, types.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}))
		must(stdcopy.StdCopy(&out, &errOut, logs))
		logs.Close()
		if out.Len()+errOut.Len() == 8 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	that(out.String() == "out\n" && errOut.String() == "err\n", out.String(), errOut.String())

	exec := must(c.ContainerExecCreate(ctx, box.ID, types.ExecConfig{AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: []string{"sh", "-c", "cat; echo $A; exit 3"}}))
	stream := must(c.ContainerExecAttach(ctx, exec.ID, types.ExecStartCheck{}))
	must(stream.Conn.Write([]byte("fro\n")))
	check(stream.CloseWrite())
	out.Reset()
	must(stdcopy.StdCopy(&out, io.Discard, stream.Reader))
	that(out.String() == "fro\n1\n", out.String())
	state := must(c.ContainerExecInspect(ctx, exec.ID))
	that(state.ExitCode == 3 && !state.Running, state)

	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	check(w.WriteHeader(&tar.Header{Name: "f", Size: 1, Mode: 0o600}))
	must(w.Write([]byte("x")))
	check(w.Close())
	check(c.CopyToContainer(ctx, box.ID, "/v", &archive, types.CopyToContainerOptions{}))
	body, st, err := c.CopyFromContainer(ctx, box.ID, "/v/f")
	check(err)
	that(st.Name == "f" && st.Size == 1, st)
	must(io.Copy(io.Discard, body))
	check(body.Close())
	stats := must(c.ContainerStats(ctx, box.ID, false))
	var sample types.StatsJSON
	check(json.NewDecoder(stats.Body).Decode(&sample))
	stats.Body.Close()
	that(sample.MemoryStats.Limit == 64<<20 && sample.PidsStats.Current > 0, sample)
	that(len(must(c.ContainerTop(ctx, box.ID, nil)).Processes) > 0, "top")
	that(len(must(c.ContainerDiff(ctx, box.ID))) >= 0, "diff")
	check(c.ContainerPause(ctx, box.ID))
	check(c.ContainerUnpause(ctx, box.ID))
	must(c.ContainerUpdate(ctx, box.ID, container.UpdateConfig{Resources: container.Resources{Memory: 80 << 20, MemorySwap: 160 << 20}}))
	check(c.ContainerRename(ctx, box.ID, "renamed"))
	made := must(c.ContainerCommit(ctx, box.ID, types.ContainerCommitOptions{Reference: "sdk:1", Changes: []string{"ENV X=y"}}))
	that(strings.HasPrefix(made.ID, "sha256:"), made)
	check(c.NetworkConnect(ctx, "bridge", box.ID, nil))
	check(c.NetworkDisconnect(ctx, "bridge", box.ID, false))
	inspected := must(c.NetworkInspect(ctx, net.ID, types.NetworkInspectOptions{}))
	that(inspected.Containers[box.ID].Name == "renamed" && inspected.Labels["a"] == "b", inspected)

	done, failed := c.ContainerWait(ctx, box.ID, container.WaitConditionNextExit)
	stop(ctx, c, box.ID)
	select {
	case r := <-done:
		that(r.StatusCode == 7, r)
	case err := <-failed:
		panic(err)
	}
	check(c.ContainerRemove(ctx, box.ID, types.ContainerRemoveOptions{RemoveVolumes: true, Force: true}))
	must(c.ImageRemove(ctx, "sdk:1", types.ImageRemoveOptions{}))
	check(c.NetworkRemove(ctx, net.ID))
	check(c.VolumeRemove(ctx, "sdk", true))
	usage(ctx, c)
	seen := map[string]bool{}
	for !seen["destroy"] {
		select {
		case e := <-events:
			that(e.ID != "" && e.Status != "" && e.From != "" && e.Actor.ID == e.ID, e)
			seen[strings.SplitN(e.Action, ":", 2)[0]] = true
		case err := <-eventErrs:
			panic(err)
		}
	}
	for _, action := range []string{"create", "start", "die", "pause", "rename", "commit", "exec_create"} {
		that(seen[action], "no event ", action)
	}
}
