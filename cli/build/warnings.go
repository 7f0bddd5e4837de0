package build

import (
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
)

// plainWarnings has what BuildKit's client says beside the progress (a local cache that is not there, …) written for people, as buildx does.
// Without it such lines have the form of a daemon's log.
func plainWarnings() { logrus.SetFormatter(forPeople{}) }

type forPeople struct{}

func (forPeople) Format(e *logrus.Entry) ([]byte, error) {
	// Each folder that holds blobs is asked once whether its file system seals files. Most do not, and nobody has to know.
	if strings.HasPrefix(e.Message, "failed check for fsverity support") {
		return nil, nil
	}
	line := strings.ToUpper(e.Level.String()) + ": " + e.Message
	if cause, ok := e.Data[logrus.ErrorKey]; ok {
		line += fmt.Sprint(": ", cause)
	}
	return []byte(line + "\n"), nil
}
