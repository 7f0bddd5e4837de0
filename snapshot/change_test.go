package snapshot

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/oci"
)

func TestChanges(t *testing.T) {
	base := func() oci.ImageConfig {
		c := oci.ImageConfig{}
		c.Env, c.Cmd, c.Entrypoint = []string{"A=1", "PATH=/bin"}, []string{"old"}, []string{"/in"}
		c.Labels, c.WorkingDir = map[string]string{"x": "y"}, "/w"
		return c
	}
	for _, test := range []struct {
		changes string
		want    func(c *oci.ImageConfig)
	}{
		{`ENV A="x y" B='c $A' C=$A`, func(c *oci.ImageConfig) { c.Env = []string{"A=x y", "PATH=/bin", "B=c $A", "C=1"} }},
		{"env D e f", func(c *oci.ImageConfig) { c.Env = append(c.Env, "D=e f") }},
		{"CMD echo $A", func(c *oci.ImageConfig) { c.Cmd = []string{"/bin/sh", "-c", "echo $A"} }},
		{`CMD ["a","b"]`, func(c *oci.ImageConfig) { c.Cmd = []string{"a", "b"} }},
		{`ENTRYPOINT ["e"]`, func(c *oci.ImageConfig) { c.Entrypoint, c.Cmd = []string{"e"}, nil }},
		{"CMD [\"a\"]\nENTRYPOINT [\"e\"]", func(c *oci.ImageConfig) { c.Entrypoint, c.Cmd = []string{"e"}, []string{"a"} }},
		{"WORKDIR sub\nWORKDIR ../other/", func(c *oci.ImageConfig) { c.WorkingDir = "/w/other" }},
		{"WORKDIR /abs//x", func(c *oci.ImageConfig) { c.WorkingDir = "/abs/x" }},
		{"LABEL x=1 \"a b\"=c", func(c *oci.ImageConfig) { c.Labels = map[string]string{"x": "1", "a b": "c"} }},
		{"EXPOSE 80 $A/udp 90-91", func(c *oci.ImageConfig) {
			c.ExposedPorts = map[string]struct{}{"80/tcp": {}, "1/udp": {}, "90/tcp": {}, "91/tcp": {}}
		}},
		{`VOLUME ["/v","/u"]`, func(c *oci.ImageConfig) { c.Volumes = map[string]struct{}{"/v": {}, "/u": {}} }},
		{"USER $A:2\nSTOPSIGNAL SIGKILL", func(c *oci.ImageConfig) { c.User, c.StopSignal = "1:2", "SIGKILL" }},
		{"ONBUILD RUN x", func(c *oci.ImageConfig) { c.OnBuild = []string{"RUN x"} }},
	} {
		given, want := base(), base()
		test.want(&want)
		got, err := changed(given, strings.Split(test.changes, "\n"))
		if err != nil || !reflect.DeepEqual(got, want) {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			t.Errorf("%s: %v\n%s, want\n%s", test.changes, err, a, b)
		}
		if !reflect.DeepEqual(given, base()) {
			t.Errorf("%s changed the config it was given", test.changes)
		}
	}
	health, err := changed(base(), []string{"HEALTHCHECK --interval=3s CMD true"})
	if err != nil || health.Healthcheck == nil || health.Healthcheck.Interval.String() != "3s" || health.Healthcheck.Test[1] != "true" {
		t.Errorf("%v %+v", err, health.Healthcheck)
	}
	for _, bad := range []string{"RUN x", "FROM x", "COPY a b", "ENV", "EXPOSE 99999", "HEALTHCHECK x", "SHELL [\"x\"]", "nonsense", "STOPSIGNAL NOPE", "VOLUME [\"\"]"} {
		if _, err := changed(base(), []string{bad}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestOverlaid(t *testing.T) {
	own := &ct.Config{
		Cmd: []string{"own"}, Env: []string{"A=1", "HIDDEN", "B=2"}, Labels: map[string]string{"l": "own"}, User: "u",
		Volumes: map[string]struct{}{"/v": {}, "v:/d": {}}, ExposedPorts: nt.PortSet{nt.MustParsePort("80/tcp"): {}},
	}
	got := overlaid(&ct.Config{Entrypoint: []string{"e"}, Env: []string{"B=3"}, Labels: map[string]string{"m": "new"}}, own)
	want := oci.ImageConfig{}
	want.Entrypoint, want.Env, want.User = []string{"e"}, []string{"A=1", "B=3"}, "u"
	want.Labels, want.Volumes = map[string]string{"l": "own", "m": "new"}, map[string]struct{}{"/v": {}}
	want.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(own.Labels) != 1 || own.Env[2] != "B=2" {
		t.Errorf("the container's own settings were changed: %+v", own)
	}
	if got := overlaid(nil, own); !reflect.DeepEqual(got.Cmd, []string{"own"}) {
		t.Errorf("%+v", got)
	}
}
