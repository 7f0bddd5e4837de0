package runtime

import "testing"

func BenchmarkRun(b *testing.B) {
	lower := busybox(b)
	for b.Loop() {
		b.StopTimer()
		cfg := testConfig(b, lower, "true")
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
		if err := c.Destroy(); err != nil {
			b.Fatal(err)
		}
	}
}
