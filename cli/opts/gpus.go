package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// parseGPUs reads a value of --gpus: "all", a number, or pairs such as "device=0", "driver=nvidia", "capabilities=compute".
func parseGPUs(value string) (container.DeviceRequest, error) {
	r := container.DeviceRequest{DeviceIDs: []string{}, Options: map[string]string{}}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return r, err
	}
	seen := map[string]bool{}
	capabilities := []string{"gpu"}
	for _, field := range fields {
		key, val, pair := strings.Cut(field, "=")
		if !pair {
			key, val = "count", key
		}
		if seen[key] {
			return r, fmt.Errorf("gpu request key '%s' can be specified only once", key)
		}
		seen[key] = true
		switch key {
		case "driver":
			r.Driver = val
		case "count":
			r.Count, err = gpuCount(val)
		case "device":
			r.DeviceIDs = strings.Split(val, ",")
		case "capabilities":
			capabilities = append(strings.Split(val, ","), "gpu")
		case "options":
			r.Options, err = pairs(val)
		default:
			return r, fmt.Errorf("unexpected key '%s' in '%s'", key, field)
		}
		if err != nil {
			return r, err
		}
	}
	if !seen["count"] && !seen["device"] {
		r.Count = 1
	}
	r.Capabilities = [][]string{capabilities}
	return r, nil
}

func gpuCount(text string) (int, error) {
	if text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("invalid count (%s): value must be either \"all\" or an integer: invalid syntax", text)
	}
	return n, nil
}

func pairs(text string) (map[string]string, error) {
	out := map[string]string{}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, errors.New("invalid options: " + text)
	}
	for _, field := range fields {
		key, val, _ := strings.Cut(field, "=")
		out[key] = val
	}
	return out, nil
}
