package testkit

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// upload is a blob on its way in.
type upload struct{ body []byte }

func (r *Registry) serveUpload(w http.ResponseWriter, req *http.Request, repository, id string) {
	if req.Method == http.MethodPost && id == "" {
		r.beginUpload(w, req, repository)
		return
	}
	r.mu.Lock()
	u := r.uploads[id]
	refuse := r.Faults.RefuseUploads > 0 && req.Method != http.MethodGet
	if refuse {
		r.Faults.RefuseUploads--
	}
	r.mu.Unlock()
	switch {
	case u == nil || r.Faults.RelativeLocation && !strings.Contains(req.URL.RawQuery, "_state=a%3D%3D"):
		r.fail(w, req, 404, "BLOB_UPLOAD_UNKNOWN")
	case refuse:
		w.Header().Set("Retry-After", r.Faults.RetryAfter)
		r.fail(w, req, 429, "TOOMANYREQUESTS")
	case r.Faults.MaxBody > 0 && req.ContentLength > r.Faults.MaxBody:
		w.Header().Set("Connection", "close")
		r.fail(w, req, 413, "SIZE_INVALID")
	case req.Method == http.MethodGet:
		r.tellUpload(w, req, repository, id, len(u.body))
		r.answer(w, req, 204, nil)
	case req.Method == http.MethodPatch && r.Faults.RefusePieces:
		r.fail(w, req, 405, "UNSUPPORTED")
	case req.Method == http.MethodPatch || req.Method == http.MethodPut:
		r.takePiece(w, req, u, repository, id)
	default:
		r.fail(w, req, 405, "UNSUPPORTED")
	}
}

// beginUpload mounts, or opens an upload.
func (r *Registry) beginUpload(w http.ResponseWriter, req *http.Request, repository string) {
	d, from := digest.Digest(req.URL.Query().Get("mount")), req.URL.Query().Get("from")
	if from != "" {
		switch r.Faults.Mount {
		case 401, 403:
			r.fail(w, req, r.Faults.Mount, "DENIED")
			return
		case 0, 201:
			r.mu.Lock()
			_, found := r.blobs[d]
			found = found && r.linked(from, d)
			if found {
				r.links[repository+" "+d.String()] = true
			}
			r.mu.Unlock()
			if found {
				w.Header().Set("Location", "/v2/"+repository+"/blobs/"+d.String())
				r.answer(w, req, 201, nil)
				return
			}
		}
	}
	r.mu.Lock()
	id := strconv.Itoa(len(r.uploads) + 1)
	r.uploads[id] = &upload{}
	r.mu.Unlock()
	r.tellUpload(w, req, repository, id, 0)
	r.answer(w, req, 202, nil)
}

// tellUpload writes where an upload goes on and how far it has come.
func (r *Registry) tellUpload(w http.ResponseWriter, req *http.Request, repository, id string, have int) {
	location := "/v2/" + repository + "/blobs/uploads/" + id
	switch {
	case r.Faults.UploadElsewhere:
		location = "http://" + r.storage + "/upload/" + repository + "@" + id
	case r.Faults.RelativeLocation:
		location += "?_state=a%3D%3D"
	default:
		location = "http://" + req.Host + location
	}
	w.Header().Set("Location", location)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(have-1, 0)))
}

// takePiece takes the rest of an upload, or a piece of it.
func (r *Registry) takePiece(w http.ResponseWriter, req *http.Request, u *upload, repository, id string) {
	var from, to int
	if n, _ := fmt.Sscanf(req.Header.Get("Content-Range"), "%d-%d", &from, &to); n == 2 && (from != len(u.body) || int64(to-from+1) != req.ContentLength) {
		r.fail(w, req, 416, "RANGE_INVALID")
		return
	}
	limit := int64(1) << 40
	key := digest.Digest("upload to " + repository)
	r.mu.Lock()
	breaks := r.Faults.CutUpload > 0 && !r.cut[key] && req.ContentLength > int64(r.Faults.CutUpload)
	if breaks {
		r.cut[key], limit = true, int64(r.Faults.CutUpload)
	}
	r.mu.Unlock()
	var got bytes.Buffer
	err := r.receive(&got, io.LimitReader(req.Body, limit))
	r.mu.Lock()
	u.body = append(u.body, got.Bytes()...)
	if (err != nil || breaks) && r.Faults.Forgetful {
		delete(r.uploads, id)
	}
	r.mu.Unlock()
	if err != nil || breaks {
		r.recordBody(req, 0, int64(got.Len()))
		panic(http.ErrAbortHandler)
	}
	if req.Method == http.MethodPatch {
		r.tellUpload(w, req, repository, id, len(u.body))
		r.recordBody(req, 202, int64(got.Len()))
		w.WriteHeader(202)
		return
	}
	d := digest.Digest(req.URL.Query().Get("digest"))
	if digest.FromBytes(u.body) != d {
		r.fail(w, req, 400, "DIGEST_INVALID")
		return
	}
	r.keep(repository, u.body)
	r.mu.Lock()
	delete(r.uploads, id)
	r.uploads["ended "+id] = nil // ids are not given twice
	r.mu.Unlock()
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Location", "/v2/"+repository+"/blobs/"+d.String())
	r.recordBody(req, 201, int64(got.Len()))
	w.WriteHeader(201)
}

// takeManifest stores a manifest.
func (r *Registry) takeManifest(w http.ResponseWriter, req *http.Request, repository, reference string) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	fails := r.Faults.FailManifests > 0
	if fails {
		r.Faults.FailManifests--
	}
	r.mu.Unlock()
	if err != nil || fails {
		r.fail(w, req, 500, "UNKNOWN")
		return
	}
	d := r.PutManifest(repository, reference, req.Header.Get("Content-Type"), body)
	w.Header().Set("Docker-Content-Digest", d.String())
	r.recordBody(req, 201, int64(len(body)))
	w.WriteHeader(201)
}

// receive reads at the configured rate, a twentieth of a second at a time.
func (r *Registry) receive(into *bytes.Buffer, from io.Reader) error {
	if r.Faults.Rate == 0 {
		_, err := io.Copy(into, from)
		return err
	}
	for {
		if _, err := io.CopyN(into, from, max(1, int64(r.Faults.Rate)/20)); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
