package repository_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/repository"
)

func TestUploads(t *testing.T) {
	s, storage := open(t, repository.Config{})
	content := bytes.Repeat([]byte("0123456789"), 1000)
	d := digest.FromBytes(content)
	id, err := s.Start(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	// The sender breaks off: what came is kept.
	broken := repository.Body{Reader: io.MultiReader(bytes.NewReader(content[:4000]), failing{}), At: 0, Size: 10000, Interrupt: func() {}}
	if _, err := s.Append(t.Context(), "r", id, broken); !errdefs.IsAborted(err) {
		t.Errorf("broken off: %v", err)
	}
	if n, err := s.Status(t.Context(), "r", id); n != 4000 || err != nil {
		t.Fatalf("at %d, %v", n, err)
	}
	// Another process goes on where it stands.
	s = over(t, storage, repository.Config{})
	for _, at := range []int64{0, 3999, 4001, 1 << 50} {
		lie := body(content[4000:])
		lie.At = at
		_, err := s.Append(t.Context(), "r", id, lie)
		code(t, fmt.Sprint("at ", at), err, repository.BlobUploadInvalid)
	}
	for _, size := range []int64{1, 5999, 6001} {
		lie := body(content[4000:])
		lie.Size = size
		_, err := s.Append(t.Context(), "r", id, lie)
		code(t, fmt.Sprint("said to be ", size), err, repository.SizeInvalid)
	}
	if n, err := s.Append(t.Context(), "r", id, body(content[4000:9000])); n != 9000 || err != nil {
		t.Fatalf("at %d, %v", n, err)
	}
	_, err = s.Status(t.Context(), "other", id)
	code(t, "from another repository", err, repository.BlobUploadUnknown)
	if err := s.Finish(t.Context(), "r", id, d, body(content[9000:])); err != nil {
		t.Fatal(err)
	}
	if n, err := s.StatBlob(t.Context(), "r", d); n != 10000 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	_, err = s.Status(t.Context(), "r", id)
	code(t, "when it is finished", err, repository.BlobUploadUnknown)
	nothingLeft(t, storage)
}

// TestBrokenOffAtOnce: a sender that breaks off is not the registry's fault, also where nothing of his is kept.
func TestBrokenOffAtOnce(t *testing.T) {
	s, storage := open(t, repository.Config{})
	d := digest.FromString("whole")
	b := repository.Body{Reader: io.MultiReader(bytes.NewReader([]byte("who")), failing{}), At: -1, Size: 5, Interrupt: func() {}}
	err := s.PutBlob(t.Context(), "r", d, b)
	if code(t, "broken off", err, repository.BlobUploadInvalid); !errdefs.IsAborted(err) {
		t.Error(err)
	}
	_, err = s.StatBlob(t.Context(), "r", d)
	code(t, "afterwards", err, repository.BlobUnknown)
	nothingLeft(t, storage)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func nothingLeft(t *testing.T, storage repository.Storage) {
	t.Helper()
	for _, prefix := range []string{"uploads/", "doomed/"} {
		if left, err := storage.List(t.Context(), prefix, "", 0); len(left) != 0 || err != nil {
			t.Errorf("left %v, %v", left, err)
		}
	}
}

// TestWrongDigests finishes uploads of every kind with another digest than the content has.
func TestWrongDigests(t *testing.T) {
	s, storage := open(t, repository.Config{})
	content := bytes.Repeat([]byte("x"), 5<<20)
	for _, wrong := range []digest.Digest{digest.FromString("other"), digest.SHA512.FromString("other")} {
		code(t, "at once", s.PutBlob(t.Context(), "r", wrong, body(content)), repository.DigestInvalid)
		for name, parts := range map[string][2][]byte{"small": {nil, content[:10]}, "large": {nil, content}, "appended": {content, nil}} {
			id, err := s.Start(t.Context(), "r")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(t.Context(), "r", id, body(parts[0])); err != nil {
				t.Fatal(err)
			}
			code(t, name, s.Finish(t.Context(), "r", id, wrong, body(parts[1])), repository.DigestInvalid)
		}
		_, err := s.StatBlob(t.Context(), "r", wrong)
		code(t, "afterwards", err, repository.BlobUnknown)
	}
	if left, err := storage.List(t.Context(), "blobs/", "", 0); len(left) != 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
	nothingLeft(t, storage)
}

func TestSHA512(t *testing.T) {
	s, _ := open(t, repository.Config{})
	content := []byte("long digest")
	d := digest.SHA512.FromBytes(content)
	id, err := s.Start(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "r", id, body(content[:4])); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(t.Context(), "r", id, d, body(content[4:])); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.OpenBlob(t.Context(), "r", d, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "digest" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRace lets two senders write one upload at once, each sure to be the only one. Whatever comes of it, a blob that
// appears is what its digest says.
func TestRace(t *testing.T) {
	s, storage := open(t, repository.Config{})
	other := over(t, storage, repository.Config{}) // another process on the same storage: no lock between the two
	for round := range 20 {
		content := bytes.Repeat([]byte{byte(round)}, 100_000)
		d := digest.FromBytes(content)
		id, err := s.Start(t.Context(), "r")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 3)
		for _, store := range []*repository.Store{s, s, other} {
			go func() {
				for at := 0; at < len(content); at += 20_000 {
					if _, err := store.Append(t.Context(), "r", id, body(content[at:at+20_000])); err != nil && !errdefs.IsNotFound(err) {
						done <- err
						return
					}
				}
				done <- store.Finish(t.Context(), "r", id, d, body(nil))
			}()
		}
		for range 3 {
			if err := <-done; err != nil && repository.CodeOf(err) == "" {
				t.Errorf("an error without a code: %v", err)
			}
		}
		r, _, err := s.OpenBlob(t.Context(), "r", d, 0)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("round %d: the blob is %d bytes of something else: %v", round, len(got), err)
		}
	}
}

// TestComeBack has a sender lose his connection without the server noticing: his next try ends the first.
func TestComeBack(t *testing.T) {
	s, _ := open(t, repository.Config{})
	id, err := s.Start(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	hanging, feed := io.Pipe()
	first := make(chan error)
	go func() {
		_, err := s.Append(t.Context(), "r", id, repository.Body{Reader: hanging, At: -1, Size: -1, Interrupt: func() { feed.CloseWithError(io.ErrClosedPipe) }})
		first <- err
	}()
	if _, err := feed.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	again := body([]byte("def"))
	again.At = 3
	if n, err := s.Append(t.Context(), "r", id, again); n != 6 || err != nil {
		t.Errorf("the second try: at %d, %v", n, err)
	}
	if err := <-first; !errdefs.IsAborted(err) {
		t.Errorf("the first: %v", err)
	}
	if err := s.Finish(t.Context(), "r", id, digest.FromString("abcdef"), body(nil)); err != nil {
		t.Error(err)
	}
}
