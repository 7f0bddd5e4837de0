package shape

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzDecodeCreate(f *testing.F) {
	f.Add([]byte(`{"Image":"a","Cmd":"x","HostConfig":{"Mounts":[{"Type":"bind","BindOptions":null}],"PidsLimit":-1},"MacAddress":"02:42:ac:11:00:02"}`), 40)
	f.Add([]byte(`{"Entrypoint":["a"],"NetworkingConfig":{"EndpointsConfig":{"a":{},"default":{"MacAddress":"02:42:ac:11:00:03"}}}}`), 43)
	f.Add([]byte(`{"HostConfig":null}`), 52)
	f.Fuzz(func(t *testing.T, raw []byte, minor int) {
		r, err := DecodeCreate(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if _, err := AdaptCreate(Version(1000+minor), r); err != nil {
			return
		}
		if r.Config == nil || r.HostConfig == nil || r.NetworkingConfig == nil || r.NetworkingConfig.EndpointsConfig == nil {
			t.Error("a part is missing")
		}
		if mode := r.HostConfig.NetworkMode; mode == "" || mode == "default" {
			t.Errorf("network mode %q", mode)
		}
		if _, err := json.Marshal(r.CreateRequest); err != nil {
			t.Error(err)
		}
	})
}
