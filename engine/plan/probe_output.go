package plan

import "io"

// probeOutput is how much of a probe's output is kept.
const probeOutput = 4096

// ProbeOutput reads frames to their end and keeps the beginning of what they carry.
func ProbeOutput(stream io.Reader) string {
	var kept []byte
	header := make([]byte, 8)
	for {
		if _, err := io.ReadFull(stream, header); err != nil {
			break
		}
		size := int64(header[4])<<24 | int64(header[5])<<16 | int64(header[6])<<8 | int64(header[7])
		data, err := io.ReadAll(io.LimitReader(stream, size))
		kept = append(kept, data[:min(len(data), probeOutput-len(kept))]...)
		if err != nil {
			break
		}
	}
	return string(kept)
}
