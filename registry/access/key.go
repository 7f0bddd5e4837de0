package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
)

// key signs tokens, or accepts what it once signed.
type key struct {
	id      string
	private *ecdsa.PrivateKey
}

// openKeys reads the keys of a file, which is made with a new one when it is missing.
func openKeys(path string) ([]key, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, err = makeKey(path); err != nil {
			return nil, fmt.Errorf("make key for tokens: %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read key for tokens: %w", err)
	}
	keys, err := parseKeys(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

func parseKeys(raw []byte) ([]key, error) {
	var keys []key
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		var private any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		default: // openssl writes the parameters of a curve beside its key
			continue
		}
		if err != nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage("the key cannot be read: " + err.Error())
		}
		ec, ok := private.(*ecdsa.PrivateKey)
		if !ok || ec.Curve != elliptic.P256() {
			return nil, errdefs.ErrInvalidArgument.WithMessage("want an EC key on P-256 (openssl ecparam -name prime256v1 -genkey -noout)")
		}
		k, err := newKey(ec)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage("there is no private key in the file")
	}
	return keys, nil
}

func newKey(private *ecdsa.PrivateKey) (key, error) {
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return key{}, fmt.Errorf("name key: %w", err)
	}
	sum := sha256.Sum256(public)
	return key{encode(sum[:9]), private}, nil
}

// makeKey writes a new key where there is none. Of several processes that find none at once, one wins and all use its
// key: the file appears whole, by a link that fails where there is one already.
func makeKey(path string) ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	making, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(making.Name())
	var text bytes.Buffer
	if err = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err == nil {
		_, err = making.Write(text.Bytes())
	}
	if err == nil {
		err = making.Sync()
	}
	if closed := making.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	if err := os.Link(making.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}
