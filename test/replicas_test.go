package test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/testkit"
)

func s3Server(t *testing.T) (s *testkit.S3, env []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an S3 server, whose first build takes minutes")
	}
	s, err := testkit.NewS3()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
}

// TestReplicas: two registries on one bucket; every call of a push goes to any of the two, and what was pushed is pulled from both. One of them,
// at random, is killed again and again, while both collect garbage. Nothing is lost and nothing is corrupt, and at last nothing is left over.
func TestReplicas(t *testing.T) {
	t.Parallel()
	s, env := s3Server(t)
	args := []string{"--s3-endpoint", s.URL, "--s3-bucket", s.Bucket, "--gc-interval", "1s", "--gc-grace", "6s"}
	f := &fleet{t: t, replicas: []*replica{newReplica(t, env, args...), newReplica(t, env, args...)}}
	stop := make(chan struct{})
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		r := rand.New(rand.NewPCG(7, 7))
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(300+r.IntN(1200)) * time.Millisecond):
			}
			victim := f.any(r)
			victim.kill()
			kills++
			time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
			victim.start()
		}
	})
	f.load(4, 25*time.Second)
	close(stop)
	killer.Wait()
	f.check()
	t.Logf("%d kills", kills)
	if kills < 5 || f.pushes.Load() < 10 || f.deletions.Load() == 0 {
		t.Errorf("too little happened to show anything")
	}
	f.empty(s)
}

// TestOneUploadAtTwoReplicas: two clients write one upload at the same time, each at a registry of its own, and both say that it is finished, with
// what each of them sent. Whatever comes of it, a blob that is there has the bytes of its digest, and one that was confirmed is there.
func TestOneUploadAtTwoReplicas(t *testing.T) {
	t.Parallel()
	s, env := s3Server(t)
	args := []string{"--s3-endpoint", s.URL, "--s3-bucket", s.Bucket}
	replicas := []*replica{newReplica(t, env, args...), newReplica(t, env, args...)}
	confirmed, refused := 0, 0
	for round := range 20 {
		h, _, err := replicas[0].call("POST", "/v2/r/blobs/uploads/", nil, nil, 202)
		if err != nil {
			t.Fatal(err)
		}
		var contents [2][]byte
		var ends [2]error
		var wait sync.WaitGroup
		for i, r := range replicas {
			contents[i] = bytes.Repeat([]byte(fmt.Sprintf("round %d, client %d; ", round, i*(round%2))), 20_000)
			wait.Go(func() {
				half := len(contents[i]) / 2
				part := func(from, to int) map[string]string {
					return map[string]string{"Content-Range": fmt.Sprintf("%d-%d", from, to-1), "Content-Type": "application/octet-stream"}
				}
				_, _, first := r.call("PATCH", path(h), part(0, half), contents[i][:half], 202)
				finish := path(h) + "?digest=" + digest.FromBytes(contents[i]).String()
				_, _, ends[i] = r.call("PUT", finish, part(half, len(contents[i])), contents[i][half:], 201)
				if first != nil && ends[i] == nil && round%2 == 1 {
					t.Errorf("round %d: the first half was refused, the whole confirmed: %v", round, first)
				}
			})
		}
		wait.Wait()
		for i := range replicas {
			d := digest.FromBytes(contents[i])
			_, got, err := replicas[1-i].call("GET", "/v2/r/blobs/"+d.String(), nil, nil, 200)
			if err == nil && digest.FromBytes(got) != d {
				t.Errorf("round %d: blob %s has other bytes", round, d)
			}
			if ends[i] == nil && err != nil {
				t.Errorf("round %d: it was confirmed, and then: %v", round, err)
			}
			var no *refusedError
			switch {
			case ends[i] == nil:
				confirmed++
			case errors.As(ends[i], &no) && no.status >= 400 && no.status < 500:
				refused++
			default:
				t.Errorf("round %d: %v", round, ends[i])
			}
		}
	}
	t.Logf("%d finished, %d refused", confirmed, refused)
	if confirmed == 0 {
		t.Error("nobody ever finished")
	}
}

// TestRegistryOnFailingS3: half of all calls to the store fail, in all the ways that calls fail. Pushes and pulls succeed or say that they did
// not; what was confirmed is there, byte for byte.
func TestRegistryOnFailingS3(t *testing.T) {
	t.Parallel()
	s, env := s3Server(t)
	bad, err := testkit.NewFlaky(s.URL, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	f := &fleet{t: t, replicas: []*replica{newReplica(t, env, "--s3-endpoint", bad.URL, "--s3-bucket", s.Bucket, "--gc-interval", "2s", "--gc-grace", "12s")}}
	bad.Spoil(0.5)
	f.load(3, 20*time.Second)
	calls, faults := bad.Faults()
	t.Logf("%d calls to the store, of which were spoiled: %v", calls, faults)
	f.check()
	bad.Spoil(0)
	clean := newReplica(t, env, "--s3-endpoint", s.URL, "--s3-bucket", s.Bucket)
	f.replicas = append(f.replicas, clean)
	f.check()
	if len(f.images) == 0 || len(faults) < 6 {
		t.Errorf("%d images, faults %v: too little happened to show anything", len(f.images), faults)
	}
}
