// Command session uses Testcontainers for Go, without its reaper, whose image is elsewhere.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

type lines chan string

func (l lines) Accept(log testcontainers.Log) { l <- string(log.Content) }

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	net := must(network.New(ctx))
	said := make(lines, 100)
	web := must(testcontainers.Run(ctx, "busybox",
		testcontainers.WithCmd("sh", "-c", "echo ready; exec httpd -f -p 80 -h /www"),
		testcontainers.WithExposedPorts("80/tcp"),
		testcontainers.WithFiles(testcontainers.ContainerFile{Reader: strings.NewReader("hello"), ContainerFilePath: "/www/index.html", FileMode: 0o644}),
		network.WithNetwork([]string{"web"}, net),
		testcontainers.WithWaitStrategy(wait.ForLog("ready"), wait.ForHTTP("/").WithPort("80/tcp")),
		testcontainers.WithLogConsumers(said),
	))
	at := must(web.PortEndpoint(ctx, "80/tcp", "http"))
	res := must(http.Get(at))
	that(string(must(io.ReadAll(res.Body))) == "hello", "the page")
	code, out, err := web.Exec(ctx, []string{"cat", "/www/index.html"}, exec.Multiplexed())
	check(err)
	that(code == 0 && string(must(io.ReadAll(out))) == "hello", code)
	file := must(web.CopyFileFromContainer(ctx, "/www/index.html"))
	that(string(must(io.ReadAll(file))) == "hello", "the file")
	client := must(testcontainers.Run(ctx, "busybox", testcontainers.WithCmd("wget", "-qO-", "http://web/"), network.WithNetwork(nil, net), testcontainers.WithWaitStrategy(wait.ForExit())))
	state := must(client.State(ctx))
	that(state.ExitCode == 0, state)
	that(strings.Contains(<-said, "ready"), "the log")
	patience := time.Duration(0)
	check(web.Stop(ctx, &patience))
	check(web.Start(ctx))
	that(web.IsRunning(), "not running again")
	for _, c := range []testcontainers.Container{client, web} {
		check(testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0)))
	}
	check(net.Remove(ctx))
	fmt.Println("it is well")
}
