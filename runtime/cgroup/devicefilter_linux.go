//lint:file-ignore U1000 structs laid out for the kernel have fields that are only ever zero

package cgroup

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Parts of union bpf_attr for the commands used here.
type (
	bpfLoad struct {
		kind, count         uint32
		code, license       uint64
		logLevel, logSize   uint32
		log                 uint64
		kernelVersion, flag uint32
	}
	bpfAttach struct{ target, program, kind, flags, replace uint32 }
	bpfQuery  struct {
		target, kind, queryFlags, attachFlags uint32
		ids                                   uint64
		count                                 uint32
	}
	bpfByID struct{ id, next, flags uint32 }
)

// mostFilters is how many programs a group may have attached, by the kernel.
const mostFilters = 64

// bpfCall is bpf(2).
func bpfCall[T any](command uintptr, attr *T) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// attachDeviceFilter puts the program for rules in place of those the group has. The new one is attached before the
// old ones go, so that at no moment everything is allowed.
func attachDeviceFilter(dir string, rules []specs.LinuxDeviceCgroup) error {
	code, err := deviceFilter(rules)
	if err != nil {
		return err
	}
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(group)
	old, err := attachedFilters(group)
	if err != nil {
		return fmt.Errorf("look for device filters: %w", err)
	}
	defer func() {
		for _, fd := range old {
			unix.Close(fd)
		}
	}()
	program, err := loadFilter(code)
	if err != nil {
		return fmt.Errorf("load device filter: %w", err)
	}
	defer unix.Close(program)
	attach := bpfAttach{target: uint32(group), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI}
	if _, err := bpfCall(unix.BPF_PROG_ATTACH, &attach); err != nil {
		return fmt.Errorf("attach device filter: %w", err)
	}
	for _, fd := range old {
		detach := bpfAttach{target: uint32(group), program: uint32(fd), kind: unix.BPF_CGROUP_DEVICE}
		if _, err := bpfCall(unix.BPF_PROG_DETACH, &detach); err != nil {
			return fmt.Errorf("detach old device filter: %w", err)
		}
	}
	return nil
}

func loadFilter(code []bpf) (int, error) {
	text, license := encodeBPF(code), []byte("Apache\x00")
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&text[0])
	pin.Pin(&license[0])
	return bpfCall(unix.BPF_PROG_LOAD, &bpfLoad{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code)),
		code: uint64(uintptr(unsafe.Pointer(&text[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	})
}

// attachedFilters opens the programs the group itself has.
func attachedFilters(group int) ([]int, error) {
	ids := make([]uint32, mostFilters)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	q := bpfQuery{target: uint32(group), kind: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: mostFilters}
	if _, err := bpfCall(unix.BPF_PROG_QUERY, &q); err != nil {
		return nil, err
	}
	var fds []int
	for _, id := range ids[:min(int(q.count), mostFilters)] {
		fd, err := bpfCall(unix.BPF_PROG_GET_FD_BY_ID, &bpfByID{id: id})
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
