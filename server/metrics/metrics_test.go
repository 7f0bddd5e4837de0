package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	st "github.com/moby/moby/api/types/system"
)

func TestMetrics(t *testing.T) {
	var failure error
	h := Handler(func(context.Context) (st.Info, error) {
		return st.Info{ContainersRunning: 3, ContainersPaused: 1, ContainersStopped: 2, NCPU: 4, MemTotal: 1024, Images: 7, ServerVersion: "1.2", ID: "x"}, failure
	})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	status, text := get("/metrics")
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	for _, line := range []string{
		`engine_daemon_container_states_containers{state="running"} 3`, `engine_daemon_container_states_containers{state="paused"} 1`,
		`engine_daemon_container_states_containers{state="stopped"} 2`, "engine_daemon_engine_cpus_cpus 4", "engine_daemon_engine_memory_bytes 1024",
		"cove_images 7", `daemon_id="x"`, `version="1.2"`, "process_open_fds", "go_goroutines",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if status, _ := get("/"); status != http.StatusNotFound {
		t.Errorf("another path: %d", status)
	}
	failure = errors.New("the engine ended")
	if status, text := get("/metrics"); status != http.StatusInternalServerError || !strings.Contains(text, "the engine ended") {
		t.Errorf("a failure: %d %s", status, text)
	}
}
