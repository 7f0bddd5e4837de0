package main

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

func makeVolume(ctx context.Context, c *client.Client, name string) {
	must(c.VolumeCreate(ctx, volume.VolumeCreateBody{Name: name, Labels: map[string]string{"v": "1"}}))
}

func stop(ctx context.Context, c *client.Client, id string) {
	patience := 5 * time.Second
	check(c.ContainerStop(ctx, id, &patience))
}

func usage(ctx context.Context, c *client.Client) {
	if c.ClientVersion() < "1.52" { // later ones answer in another shape
		that(len(must(c.DiskUsage(ctx)).Images) == 1, "disk usage")
	}
}
