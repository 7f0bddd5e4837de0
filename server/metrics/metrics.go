// Package metrics tells Prometheus how the engine fares, under dockerd's names where it has the same. What is told is looked up when it
// is asked for.
package metrics

import (
	"context"
	"net/http"

	st "github.com/moby/moby/api/types/system"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// engine tells what its info says.
type engine struct {
	ask func(context.Context) (st.Info, error)
}

var (
	states = prometheus.NewDesc("engine_daemon_container_states_containers", "The count of containers in various states", []string{"state"}, nil)
	cpus   = prometheus.NewDesc("engine_daemon_engine_cpus_cpus", "The number of cpus that the host system of the engine has", nil, nil)
	memory = prometheus.NewDesc("engine_daemon_engine_memory_bytes", "The number of bytes of memory that the host system of the engine has", nil, nil)
	ears   = prometheus.NewDesc("engine_daemon_events_subscribers_total", "The number of current subscribers to events", nil, nil)
	images = prometheus.NewDesc("cove_images", "The number of images", nil, nil)
	about  = prometheus.NewDesc("engine_daemon_engine_info", "The information related to the engine and the OS it is running on",
		[]string{"version", "commit", "architecture", "graphdriver", "kernel", "os", "os_version", "os_type", "daemon_id"}, nil)
)

// Handler answers /metrics with what ask tells of the engine, and with how its process is.
func Handler(ask func(context.Context) (st.Info, error)) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(engine{ask}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	return mux
}

// Describe names all that Collect tells.
func (e engine) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{states, cpus, memory, ears, images, about} {
		out <- d
	}
}

// Collect asks the engine.
func (e engine) Collect(out chan<- prometheus.Metric) {
	i, err := e.ask(context.Background())
	if err != nil {
		out <- prometheus.NewInvalidMetric(about, err)
		return
	}
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	tell(states, float64(i.ContainersRunning), "running")
	tell(states, float64(i.ContainersPaused), "paused")
	tell(states, float64(i.ContainersStopped), "stopped")
	tell(cpus, float64(i.NCPU))
	tell(memory, float64(i.MemTotal))
	tell(ears, float64(i.NEventsListener))
	tell(images, float64(i.Images))
	tell(about, 1, i.ServerVersion, i.RuncCommit.ID, i.Architecture, i.Driver, i.KernelVersion, i.OperatingSystem, i.OSVersion, i.OSType, i.ID)
}
