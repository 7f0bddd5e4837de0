// Command session uses the current Go client of Docker's API.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := must(client.New(client.FromEnv))
	that(must(c.Ping(ctx, client.PingOptions{})).OSType == "linux", "ping")
	that(must(c.Info(ctx, client.InfoOptions{})).Info.Images == 1, "info")
	events := c.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("type", "container")})
	images := must(c.ImageList(ctx, client.ImageListOptions{Manifests: true})).Items
	that(len(images) == 1 && len(images[0].Manifests) > 0, images)
	that(must(c.ImageInspect(ctx, "busybox")).ID == images[0].ID, "image inspect")
	_, err := c.ImageInspect(ctx, "nosuch")
	that(errdefs.IsNotFound(err), err)
	net := must(c.NetworkCreate(ctx, "sdk", client.NetworkCreateOptions{IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix(os.Getenv("SUBNET"))}}}}))
	that(must(c.VolumeCreate(ctx, client.VolumeCreateOptions{Name: "sdk"})).Volume.Name == "sdk", "volume")
	box := must(c.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       "sdk",
		Config:     &container.Config{Image: "busybox", Cmd: []string{"sh", "-c", "trap 'exit 7' TERM; while :; do sleep .1; done"}, Env: []string{"A=1"}},
		HostConfig: &container.HostConfig{NetworkMode: "sdk", Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "sdk", Target: "/v"}}, Resources: container.Resources{Memory: 64 << 20}},
	}))
	must(c.ContainerStart(ctx, box.ID, client.ContainerStartOptions{}))
	j := must(c.ContainerInspect(ctx, box.ID, client.ContainerInspectOptions{Size: true})).Container
	that(j.State.Running && j.NetworkSettings.Networks["sdk"].IPAddress.IsValid() && j.SizeRw != nil, j.State)
	that(len(must(c.ContainerList(ctx, client.ContainerListOptions{})).Items) == 1, "list")
	exec := must(c.ExecCreate(ctx, box.ID, client.ExecCreateOptions{AttachStdout: true, AttachStderr: true, Cmd: []string{"sh", "-c", "echo $A; exit 3"}}))
	stream := must(c.ExecAttach(ctx, exec.ID, client.ExecAttachOptions{}))
	r, w := io.Pipe()
	go func() { stdcopy.StdCopy(w, io.Discard, stream.Reader); w.Close() }()
	that(string(must(io.ReadAll(r))) == "1\n", "exec")
	that(must(c.ExecInspect(ctx, exec.ID, client.ExecInspectOptions{})).ExitCode == 3, "exec inspect")
	stats := must(c.ContainerStats(ctx, box.ID, client.ContainerStatsOptions{IncludePreviousSample: true}))
	var sample container.StatsResponse
	check(json.NewDecoder(stats.Body).Decode(&sample))
	that(sample.MemoryStats.Limit == 64<<20 && sample.PreCPUStats.SystemUsage > 0, sample)
	must(c.ContainerUpdate(ctx, box.ID, client.ContainerUpdateOptions{Resources: &container.Resources{Memory: 80 << 20, MemorySwap: 160 << 20}}))
	must(c.ContainerRename(ctx, box.ID, client.ContainerRenameOptions{NewName: "renamed"}))
	made := must(c.ContainerCommit(ctx, box.ID, client.ContainerCommitOptions{Reference: "sdk:1"}))
	that(must(c.NetworkInspect(ctx, net.ID, client.NetworkInspectOptions{})).Network.Containers[box.ID].Name == "renamed", "network inspect")
	that(must(c.DiskUsage(ctx, client.DiskUsageOptions{Images: true, Verbose: true})).Images.TotalSize > 0, "disk usage")
	wait := c.ContainerWait(ctx, box.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	must(c.ContainerStop(ctx, box.ID, client.ContainerStopOptions{}))
	select {
	case r := <-wait.Result:
		that(r.StatusCode == 7, r)
	case err := <-wait.Error:
		panic(err)
	}
	must(c.ContainerRemove(ctx, box.ID, client.ContainerRemoveOptions{}))
	must(c.ImageRemove(ctx, made.ID, client.ImageRemoveOptions{}))
	must(c.NetworkRemove(ctx, net.ID, client.NetworkRemoveOptions{}))
	must(c.VolumeRemove(ctx, "sdk", client.VolumeRemoveOptions{}))
	for {
		select {
		case e := <-events.Messages:
			if e.Action == "destroy" {
				fmt.Println("API", c.ClientVersion(), "is well")
				return
			}
		case err := <-events.Err:
			panic(err)
		}
	}
}
