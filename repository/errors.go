package repository

import (
	"errors"

	"github.com/containerd/errdefs"
)

// Code says what is wrong in the words of the distribution specification.
type Code string

// The codes of the specification.
const (
	BlobUnknown         Code = "BLOB_UNKNOWN"
	BlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	BlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	DigestInvalid       Code = "DIGEST_INVALID"
	ManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	ManifestInvalid     Code = "MANIFEST_INVALID"
	ManifestUnknown     Code = "MANIFEST_UNKNOWN"
	NameInvalid         Code = "NAME_INVALID"
	NameUnknown         Code = "NAME_UNKNOWN"
	SizeInvalid         Code = "SIZE_INVALID"
	Denied              Code = "DENIED"
)

// Error is an error with its code; the kind is Err's.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the code of an error, "" when it has none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// absences say in words what is not there; where the storage looked for it is not the client's business.
var absences = map[Code]string{
	BlobUnknown:       "the repository has no such blob",
	BlobUploadUnknown: "there is no such upload",
	ManifestUnknown:   "the repository has no such manifest",
}

// as gives err a code, and words, where it says that something is absent.
func as(code Code, err error) error {
	if errdefs.IsNotFound(err) && CodeOf(err) == "" {
		return &Error{code, errdefs.ErrNotFound.WithMessage(absences[code])}
	}
	return err
}
