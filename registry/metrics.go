package registry

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics tells.
type metrics struct {
	serve    http.HandlerFunc
	calls    *prometheus.HistogramVec
	active   prometheus.Gauge
	received prometheus.Counter
	sent     prometheus.Counter
	freed    prometheus.Counter
	removed  *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cove_registry_request_duration_seconds", Help: "Time to answer, by resource, method and status.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
		}, []string{"resource", "method", "status"}),
		active:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "cove_registry_requests_active", Help: "Requests being served."}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "cove_registry_received_bytes_total", Help: "Bytes of request bodies read."}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "cove_registry_sent_bytes_total", Help: "Bytes of response bodies written."}),
		freed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "cove_registry_gc_freed_bytes_total", Help: "Bytes that garbage collections freed."}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cove_registry_gc_removed_total", Help: "What garbage collections removed.",
		}, []string{"what"}),
	}
	r := prometheus.NewRegistry()
	r.MustRegister(m.calls, m.active, m.received, m.sent, m.freed, m.removed,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.serve = promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP
	return m
}

// begin counts a request; end is to be called when it is answered.
func (m *metrics) begin(w http.ResponseWriter, r *http.Request, kind string) *counted {
	m.active.Inc()
	if kind == "" {
		kind = "none"
	}
	method := r.Method
	switch method {
	case "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE":
	default:
		method = "other"
	}
	r.Body = &countedBody{r.Body, m}
	return &counted{ResponseWriter: w, metrics: m, kind: kind, method: method, began: time.Now()}
}

// counted is a response that is watched.
type counted struct {
	http.ResponseWriter
	metrics      *metrics
	kind, method string
	began        time.Time
	status       int
}

func (c *counted) end() {
	c.metrics.active.Dec()
	status := c.status
	if status == 0 {
		status = http.StatusOK
	}
	c.metrics.calls.WithLabelValues(c.kind, c.method, strconv.Itoa(status)).Observe(time.Since(c.began).Seconds())
}

func (c *counted) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.metrics.sent.Add(float64(n))
	return n, err
}

// ReadFrom lets the kernel move a file to the connection.
func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := io.Copy(c.ResponseWriter, r)
	c.metrics.sent.Add(float64(n))
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

type countedBody struct {
	io.ReadCloser
	metrics *metrics
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.metrics.received.Add(float64(n))
	return n, err
}
