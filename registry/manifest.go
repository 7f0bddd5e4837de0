package registry

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/repository"
)

func (c *call) getManifest() error {
	m, err := c.content.Manifest(c.r.Context(), c.name, c.arg)
	if err != nil {
		return err
	}
	if c.fixed(m.Digest) {
		return nil
	}
	h := c.w.Header()
	h.Set("Content-Type", m.MediaType)
	h.Set("Content-Length", strconv.FormatInt(m.Size, 10))
	if c.r.Method == http.MethodHead {
		return nil
	}
	body, err := c.content.ReadManifest(c.r.Context(), c.name, m)
	if err != nil {
		return err
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.Write(body)
	return nil
}

func (c *call) putManifest() error {
	limit := c.store.MaxManifest()
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &refusal{http.StatusRequestEntityTooLarge, repository.SizeInvalid, "the manifest is larger than " + strconv.FormatInt(limit, 10) + " bytes"}
	}
	if err != nil {
		return badRequest(repository.ManifestInvalid, "the manifest broke off: %v", err)
	}
	p := repository.Push{MediaType: c.r.Header.Get("Content-Type"), Body: body}
	if strings.Contains(c.arg, ":") {
		p.Digest, p.Tags = digest.Digest(c.arg), c.r.URL.Query()["tag"]
	} else {
		p.Tags = []string{c.arg}
		// A client may say how it will call the manifest, when that is not by its sha256.
		p.Digest = digest.Digest(c.r.URL.Query().Get("digest"))
	}
	m, err := c.store.PutManifest(c.r.Context(), c.name, p)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Location", "/v2/"+c.name+"/manifests/"+m.Digest.String())
	h.Set("Docker-Content-Digest", m.Digest.String())
	if m.Subject != "" {
		h.Set("OCI-Subject", m.Subject.String())
	}
	for _, tag := range p.Tags {
		h.Add("OCI-Tag", tag)
	}
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (c *call) deleteManifest() error {
	if err := c.store.DeleteManifest(c.r.Context(), c.name, c.arg); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
