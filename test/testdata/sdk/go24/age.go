package main

import (
	"context"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

func makeVolume(ctx context.Context, c *client.Client, name string) {
	must(c.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: map[string]string{"v": "1"}}))
}

func stop(ctx context.Context, c *client.Client, id string) {
	patience := 5
	check(c.ContainerStop(ctx, id, container.StopOptions{Timeout: &patience}))
}

func usage(ctx context.Context, c *client.Client) {
	that(len(must(c.DiskUsage(ctx, types.DiskUsageOptions{})).Images) == 1, "disk usage")
}
