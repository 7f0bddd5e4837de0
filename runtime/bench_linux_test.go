package runtime

import (
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkRun is a container's whole life as Docker would configure it.
func BenchmarkRun(b *testing.B) {
	lower := busybox(b)
	cache := b.TempDir()
	for b.Loop() {
		b.StopTimer()
		cfg := testConfig(b, lower, "true")
		profile, err := seccomp.GetDefaultProfile(cfg.Spec)
		if err != nil {
			b.Fatal(err)
		}
		cfg.Spec.Linux.Seccomp, cfg.SeccompCache = profile, cache
		b.StartTimer()
		c, err := Create(cfg, IO{})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := c.Destroy(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkExec is a further process in a running container.
func BenchmarkExec(b *testing.B) {
	cfg := testConfig(b, busybox(b), "sleep", "1000")
	profile, err := seccomp.GetDefaultProfile(cfg.Spec)
	if err != nil {
		b.Fatal(err)
	}
	cfg.Spec.Linux.Seccomp = profile
	c, err := Create(cfg, IO{})
	if err != nil {
		b.Fatal(err)
	}
	defer destroy(b, c)
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := c.Exec(specs.Process{Args: []string{"/bin/true"}, Cwd: "/", Capabilities: cfg.Spec.Process.Capabilities}, "0", nil, IO{})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Start(); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
