package shim

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Names in a supervisor's folder.
const (
	socketName = "sock"
	stateName  = "state.json"
	exitName   = "exit.json"
)

// state is what must be known about a container whose supervisor was killed.
type state struct {
	Supervisor, Pid int
	Cgroup          string
}

// record is how a run ended.
type record struct {
	Exit  Exit
	Execs []ExecState
}

// writeJSON puts a file in place as a whole. It need not survive a power failure: neither does the container.
func writeJSON(dir, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	part := filepath.Join(dir, name+".part")
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(dir, name))
}

func readJSON(dir, name string, v any) error {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
