// Package archive moves file trees in and out of tar streams, and from one directory to another, exactly: owners,
// modes, times, extended attributes, hard links, devices and holes included.
//
// Every name is resolved relative to an open directory, one component at a time and never through a link that the
// kernel would follow: links are read and followed by the package itself, scoped to that directory. So neither a
// hostile archive nor a tree that changes meanwhile can lead outside.
//
// Whiteouts exist in two forms. In an image's layer `.wh.NAME` hides NAME of the layers below and `.wh..wh..opq`
// hides everything below its directory; on disk they are overlayfs' own: a character device 0:0, and the attribute
// trusted.overlay.opaque. Unpack turns the first into the second, Pack the second into the first.
package archive

import "os"

// Owner is a numeric user and group.
type Owner struct{ UID, GID int }

// Numbers translates those of users and groups; nil leaves them as they are.
type Numbers func(uid, gid int) (int, int, error)

func (n Numbers) of(uid, gid int) (int, int, error) {
	if n == nil {
		return uid, gid, nil
	}
	return n(uid, gid)
}

// Options tells how Unpack treats an archive.
type Options struct {
	// Whiteouts reads the archive as an image's layer: names starting with ".wh." hide what lies below.
	Whiteouts bool
	// Below is the tree that a layer will lie on. When set, parents that the archive does not list take their
	// attributes from it, its links are followed where the archive has nothing of its own, and hard links may
	// name its files, which are copied up.
	Below *os.File
	// Into is the directory below root that names in the archive start from; they cannot lead out of it by themselves,
	// but links on their way may, to anywhere below root. It must be there, and stays what it is. Not for layers.
	Into string
	// KeepTypes refuses entries that would replace a directory by something else or the reverse.
	KeepTypes bool
	// Owner, when set, owns everything unpacked, whatever the archive says.
	Owner *Owner
	// Numbers turns the numbers of the archive into those of the file system, Owner's as well.
	Numbers Numbers
	// MaxBytes limits the bytes of file content written, MaxEntries the entries read and the directories that they imply.
	// Zero is no limit; going beyond one is errdefs.ErrInvalidArgument.
	MaxBytes, MaxEntries int64
}

// Link is a hard link whose target was not there.
type Link struct{ Name, Target string }

// Report tells what Unpack did and what the archive left open.
type Report struct {
	// Entries counts the archive's entries, Bytes the file content written.
	Entries, Bytes int64
	// Disk is about what the tree takes on disk: contents in whole blocks of 4096, and one for each directory.
	Disk int64
	// Newest is the latest time of an entry, in seconds since 1970.
	Newest int64
	// Implied lists directories that entries lie in but that the archive does not list itself, as far as something
	// below could show through: they would have been there already. The root is the empty name. At most 10,000 are listed.
	Implied []string
	// Missing lists hard links that were left out because their target is not in the archive, at most 10,000.
	Missing []Link
	// Opaque tells that the root itself hides everything below.
	Opaque bool
	// NoAttr lists the names whose extended attributes the file system does not take; the rest was unpacked.
	NoAttr []string
}

// PackOptions tells how Pack writes an archive.
type PackOptions struct {
	// Whiteouts writes overlayfs' whiteouts and opaque directories the way image layers have them. Without it
	// they are left out.
	Whiteouts bool
	// Skip, when set, leaves out the names it returns true for, and everything below them.
	Skip func(name string) bool
	// Base, for a whole tree, packs also root itself, as a directory of this name that all other names lie in.
	Base string
	// Fraction keeps the times' fractions of a second, at the cost of one more block for each entry.
	Fraction bool
	// Numbers turns the numbers of the file system into those of the archive.
	Numbers Numbers
}

// CopyOptions tells how CopyTree copies.
type CopyOptions struct {
	// Root also gives the source directory's own attributes to the destination directory.
	Root bool
	// Layer copies a layer's tree as it is on disk: whiteouts are devices to any copy, opaque directories stay opaque
	// with it.
	Layer bool
}
