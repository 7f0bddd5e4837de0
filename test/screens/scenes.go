package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cove-containers/cove/testkit"
)

// dockerfile is built for the picture of a build.
const dockerfile = `FROM alpine:3.20 AS tools
RUN echo compiling && sleep 1 && echo 42 > /answer
FROM alpine:3.20
WORKDIR /srv
COPY page.html .
COPY --from=tools /answer .
RUN wc -c page.html answer
CMD ["cat", "page.html"]
`

// scenes takes every picture, in the order in which a user would come by them.
func (s *studio) scenes() error {
	for _, scene := range []func() error{s.run, s.pull, s.build, s.ps, s.stats, s.events, s.port, s.snapshot} {
		if err := scene(); err != nil {
			return err
		}
	}
	return nil
}

func (s *studio) run() error {
	return s.take("run", "cove run --rm --memory 64m alpine:3.20 sh -c 'cat /etc/alpine-release; nproc; id -un'", nil, nil)
}

// pull is caught in the middle, with layers at different places.
func (s *studio) pull() error {
	im, err := testkit.Craft("L comp=none; z usr/base 3000000\nL comp=none; z srv/app 9000000\nL comp=none; z srv/data 14000000\nL; f etc/app.conf on", nil)
	if err != nil {
		return err
	}
	s.registry.Push("team/app", "1.4", im)
	return s.take("pull", "cove pull "+s.registry.Host()+"/team/app:1.4", func(screen string) bool {
		return strings.Contains(screen, "Pull complete") && strings.Count(screen, "=>") >= 2
	}, nil)
}

func (s *studio) build() error {
	for name, text := range map[string]string{"Dockerfile": dockerfile, "page.html": "<h1>Hello from Cove</h1>\n"} {
		if err := os.MkdirAll(filepath.Join(s.dir, "site"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, "site", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return s.take("build", "cove build -t site:1 site", nil, nil)
}

// ps has containers in several states; those of the later scenes are among them.
func (s *studio) ps() error {
	for _, args := range [][]string{
		{"run", "-d", "--name", "web", "-p", "127.0.0.1::80", "alpine:3.20", "sh", "-c", "while :; do :; sleep 0.01; done"},
		{"run", "-d", "--name", "worker", "--memory", "64m", "--cpus", "0.5", "alpine:3.20", "sh", "-c", "head -c 20000000 /dev/zero | tail -c 20000000 | sleep 1000"},
		{"create", "--name", "task", "alpine:3.20", "true"},
	} {
		if err := s.quiet(args...); err != nil {
			return err
		}
	}
	return s.take("ps", "cove ps -a", nil, nil)
}

func (s *studio) stats() error {
	return s.take("stats", "cove stats", func(screen string) bool {
		for line := range strings.Lines(screen) {
			if f := strings.Fields(line); len(f) > 2 && f[1] == "web" && f[2] != "--" && f[2] != "0.00%" {
				return strings.Contains(screen, "MiB / 64MiB")
			}
		}
		return false
	}, nil)
}

func (s *studio) events() error {
	return s.take("events", "cove events --format '{{.Time}} {{.Type}} {{.Action}} {{.Actor.Attributes.name}}' --filter type=container", func(screen string) bool {
		return strings.Contains(screen, "destroy")
	}, func() error {
		time.Sleep(time.Second) // until it listens
		return s.quiet("run", "--rm", "--name", "passer-by", "alpine:3.20", "true")
	})
}

func (s *studio) port() error {
	return s.take("port", "cove port add web 127.0.0.1::443 127.0.0.1::9000-9001 && cove port web", nil, nil)
}

func (s *studio) snapshot() error {
	for _, args := range [][]string{
		{"run", "--name", "db", "alpine:3.20", "sh", "-c", "mkdir -p /data; date +%s%N >>/data/table; echo $$ >/data/$(wc -l </data/table)"},
		{"snapshot", "create", "-m", "before the upgrade", "db", "good"},
		{"start", "-a", "db"},
	} {
		if err := s.quiet(args...); err != nil {
			return err
		}
	}
	return s.take("snapshot", "cove snapshot ls db; cove snapshot diff db good; cove snapshot rollback db good", nil, nil)
}
