package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/cove-containers/cove/build"
)

func TestBuilderSettings(t *testing.T) {
	for text, want := range map[string][]build.Rule{
		`{"builder": {"gc": {"enabled": false}}}`: nil,
		`{"builder": {"gc": {"policy": [{"keepStorage": "10GB", "filter": ["unused-for=2200h"]}, {"reservedSpace": "1kB", "maxUsedSpace": "2kB", "all": true}]}}}`: {
			{Reserved: 10 << 30, KeepDuration: 2200 * time.Hour}, {Reserved: 1 << 10, MaxUsed: 2 << 10, All: true}},
		`{"builder": {"gc": {"policy": [{"maxUsedSpace": "5GB", "filter": {"type": {"source.local": true}}, "keepDuration": "48h"}]}}}`: {
			{MaxUsed: 5 << 30, Filter: []string{"type==source.local"}, KeepDuration: 48 * time.Hour}},
	} {
		s := newSettings()
		if err := s.apply([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := s.builder.rules(t.TempDir()); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v", text, got)
		}
	}
	s := newSettings()
	if err := s.apply([]byte(`{"features": {"buildkit": true}, "builder": {"gc": {"enabled": true, "defaultKeepStorage": "20GB"}}}`)); err != nil {
		t.Fatal(err)
	}
	rules := s.builder.rules(t.TempDir())
	if len(rules) != 4 || rules[2].Reserved != 20<<30 || !rules[3].All {
		t.Errorf("rules by default: %+v", rules)
	}
	for text, want := range map[string]string{
		`{}`: "[device network.host]",
		`{"builder": {"entitlements": {"security-insecure": true}}}`:                                          "[device network.host security.insecure]",
		`{"builder": {"entitlements": {"network-host": false, "security-insecure": false, "device": false}}}`: "[]",
	} {
		s := newSettings()
		if err := s.apply([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.builder.entitled()); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	if rules := newSettings().builder.rules(t.TempDir()); len(rules) != 4 || rules[2].MaxUsed == 0 {
		t.Errorf("rules without a file: %+v", rules)
	}
	for _, text := range []string{
		`{"builder": {"gc": {"defaultKeepStorage": "much"}}}`, `{"builder": {"cg": {}}}`,
		`{"builder": {"gc": {"policy": [{"keepDuration": "long"}]}}}`, `{"builder": []}`,
	} {
		if err := newSettings().apply([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
