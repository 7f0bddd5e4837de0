package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// send pushes an image of one small layer.
func send(addr, name, tag string, layer []byte) error {
	put := func(method, path, kind string, body []byte) error {
		q, err := http.NewRequest(method, "http://"+addr+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		q.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != 201 {
			return fmt.Errorf("%s %s: %s", method, path, resp.Status)
		}
		return nil
	}
	blob := func(body []byte) (ocispec.Descriptor, error) {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(body), Size: int64(len(body))}
		q, err := http.Post("http://"+addr+"/v2/"+name+"/blobs/uploads/", "", nil)
		if err != nil {
			return d, err
		}
		q.Body.Close()
		at, err := q.Location()
		if err != nil {
			return d, err
		}
		query := at.Query()
		query.Set("digest", d.Digest.String())
		return d, put("PUT", at.Path+"?"+query.Encode(), "application/octet-stream", body)
	}
	config, err := blob([]byte("{}"))
	if err != nil {
		return err
	}
	config.MediaType = ocispec.MediaTypeImageConfig
	only, err := blob(layer)
	if err != nil || tag == "" {
		return err
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{only}}
	m.SchemaVersion = 2
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return put("PUT", "/v2/"+name+"/manifests/"+tag, m.MediaType, body)
}

// garbage collects 10,000 blobs while somebody pushes. Debian's registry can only collect while it does not run (or takes no
// pushes), so of it there is the time alone.
func (b *bench) garbage() error {
	const blobs = 10_000
	fmt.Printf("garbage collection of %d blobs\n", blobs)
	for _, s := range b.servers() {
		addr, stop, err := s.start()
		if err != nil {
			return err
		}
		if err := fill(addr, blobs); err != nil {
			return err
		}
		alone := pushFor(addr, "alone", 3*time.Second, nil)
		time.Sleep(3 * time.Second) // what was pushed has to be older than the grace time
		start := time.Now()
		if s.name != "cove" {
			config, err := newest(filepath.Join(b.dir, "debianregistry*", "config.yml"))
			if err != nil {
				return err
			}
			out, err := exec.Command("docker-registry", "garbage-collect", config).CombinedOutput()
			fmt.Printf("  %-15s %8.0f ms, without pushes: it deleted %d, %v\n", s.name, ms(time.Since(start)), bytes.Count(out, []byte("eligible for deletion: sha256:")), err)
			print("  push of a small image to it", []samples{alone})
			stop()
			continue
		}
		done := make(chan struct{})
		var answer string
		go func() {
			defer close(done)
			resp, err := http.Post("http://"+addr+"/v2/_cove/gc", "", nil)
			if err != nil {
				answer = err.Error()
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answer = strings.TrimSpace(string(body))
		}()
		during := pushFor(addr, "during", time.Minute, done)
		fmt.Printf("  %-15s %8.0f ms, while pushing: %s\n", s.name, ms(time.Since(start)), answer)
		print("  push of a small image to it", []samples{alone, during})
		stop()
	}
	return nil
}

// newest is the file of the pattern that was written last: the one of the server that was started last.
func newest(pattern string) (string, error) {
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		return "", fmt.Errorf("no file %s: %w", pattern, errors.Join(err, os.ErrNotExist))
	}
	return slices.MaxFunc(all, func(a, b string) int {
		x, err1 := os.Stat(a)
		y, err2 := os.Stat(b)
		if err1 != nil || err2 != nil {
			return strings.Compare(a, b)
		}
		return x.ModTime().Compare(y.ModTime())
	}), nil
}

// fill uploads blobs that nothing names.
func fill(addr string, n int) error {
	var wait sync.WaitGroup
	var failed atomic.Pointer[error]
	var next atomic.Int64
	for range 8 {
		wait.Go(func() {
			for i := next.Add(1); i <= int64(n) && failed.Load() == nil; i = next.Add(1) {
				if err := send(addr, "garbage", "", fmt.Appendf(nil, "blob %d of the garbage", i)); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// pushFor pushes small images one after another for a while, or until something else is done, and reads each back.
func pushFor(addr, name string, d time.Duration, done <-chan struct{}) samples {
	s := samples{name: name}
	end := time.Now().Add(d)
	for i := 0; time.Now().Before(end); i++ {
		select {
		case <-done:
			return s
		default:
		}
		tag := fmt.Sprint(i)
		start := time.Now()
		if err := send(addr, name, tag, fmt.Appendf(nil, "%s %d", name, i)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		s.times = append(s.times, time.Since(start))
		if err := fetch(addr, name, tag); err != nil {
			fmt.Fprintln(os.Stderr, "LOST:", err)
		}
	}
	return s
}
