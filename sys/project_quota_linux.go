package sys

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// A project is a set of files of a file system, of which ext4 and xfs count what they take and may limit it (quota(5)). A
// directory hands its project on to what is made in it.

// fileAttributes is the kernel's struct fsxattr.
type fileAttributes struct {
	flags, extentSize, extents, project, copyExtentSize uint32
	_                                                   [8]byte
}

// The kernel's numbers for reading and writing fileAttributes, and the flag of directories that hand on their project.
const (
	getFileAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setFileAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	projectInherits   = 0x200      // FS_XFLAG_PROJINHERIT
)

// ProjectOf tells the project of an open file, none being 0, and of a directory whether it hands it on.
func ProjectOf(f FD) (project uint32, inherits bool, err error) {
	a, err := f.attributes()
	return a.project, a.flags&projectInherits != 0, err
}

// SetProject puts an open file into a project; a directory hands it on from then on, unless it is 0. What is in a directory
// already stays where it is.
func SetProject(f FD, project uint32, directory bool) error {
	a, err := f.attributes()
	if err != nil {
		return err
	}
	a.project = project
	a.flags &^= projectInherits
	if directory && project != 0 {
		a.flags |= projectInherits
	}
	return f.control(setFileAttributes, &a)
}

func (d FD) attributes() (a fileAttributes, err error) {
	return a, d.control(getFileAttributes, &a)
}

func (d FD) control(request uintptr, a *fileAttributes) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d), request, uintptr(unsafe.Pointer(a)))
	return asError(errno)
}

func asError(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENOTTY, unix.ENOSYS, unix.EOPNOTSUPP, unix.ESRCH:
		return fmt.Errorf("%w: %w", errno, errdefs.ErrNotImplemented)
	}
	return errno
}

// quota is the kernel's struct if_nextdqblk, which begins with if_dqblk; limits are in units of 1 KiB, what is used in bytes.
type quota struct {
	hard, soft, used            uint64
	filesHard, filesSoft, files uint64
	bytesGrace, filesGrace      uint64
	valid, project              uint32
}

const (
	getQuota     = 0x800007 // Q_GETQUOTA
	setQuota     = 0x800008 // Q_SETQUOTA
	nextQuota    = 0x800009 // Q_GETNEXTQUOTA
	stateOfQuota = 0x5805   // Q_XGETQSTAT
	ofProjects   = 2        // PRJQUOTA

	onlyBytes = 1    // QIF_BLIMITS
	unit      = 1024 // QIF_DQBLKSIZE

	counted, enforced = 1 << 4, 1 << 5 // FS_QUOTA_PDQ_ACCT, FS_QUOTA_PDQ_ENFD
)

// quotaControl is quotactl_fd(2) (Linux 5.14), which needs no device.
func quotaControl(fileSystem FD, command int, project uint32, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fileSystem), uintptr(command<<8|ofProjects), uintptr(project), uintptr(arg), 0, 0)
	return asError(errno)
}

// LimitsProjects tells whether the file system that an open file is on keeps limits of projects.
func LimitsProjects(fileSystem FD) bool {
	var state struct {
		version int8
		flags   uint16
		_       [96]byte
	}
	err := quotaControl(fileSystem, stateOfQuota, 0, unsafe.Pointer(&state))
	return err == nil && state.flags&counted != 0 && state.flags&enforced != 0
}

// LimitProject bounds what all files of a project take, in bytes; 0 lifts the bound.
func LimitProject(fileSystem FD, project uint32, limit int64) error {
	q := quota{hard: uint64((limit + unit - 1) / unit), valid: onlyBytes}
	return quotaControl(fileSystem, setQuota, project, unsafe.Pointer(&q))
}

// ProjectUse tells what the files of a project take, and may take at most, in bytes; no limit is 0.
func ProjectUse(fileSystem FD, project uint32) (used, limit int64, err error) {
	var q quota
	err = quotaControl(fileSystem, getQuota, project, unsafe.Pointer(&q))
	if errors.Is(err, unix.ENOENT) {
		return 0, 0, nil // xfs has never heard of it
	}
	return int64(q.used), int64(q.hard) * unit, err
}

// NextProject finds the first project from this one on that has files or a limit.
func NextProject(fileSystem FD, from uint32) (project uint32, found bool, err error) {
	var q quota
	err = quotaControl(fileSystem, nextQuota, from, unsafe.Pointer(&q))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return 0, false, nil
	}
	return q.project, err == nil, err
}
