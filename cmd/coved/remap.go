package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/spec"
)

// The setting that names nobody in particular, and who it means.
const (
	defaultSetting = "default"
	defaultUser    = "dockremap"
)

// Files that say who may use which further numbers, a line NAME:FIRST:COUNT each.
const (
	subordinateUsers  = "/etc/subuid"
	subordinateGroups = "/etc/subgid"
)

// readRemap finds out what a setting of --userns-remap means: USER[:GROUP], UID[:GID], or "default", whose user and numbers are made
// where they are not there. Nil for an empty one, and for root, who cannot be mapped to himself.
func readRemap(setting string) (*spec.Users, error) {
	if setting == "" {
		return nil, nil
	}
	name, err := whose(setting)
	if err != nil || name == "root" {
		return nil, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("Can't create ID mappings: could not get user for username %s: %w", name, err)
	}
	m := &spec.Users{}
	for _, of := range []struct {
		file string
		into *[]specs.LinuxIDMapping
	}{{subordinateUsers, &m.Users}, {subordinateGroups, &m.Groups}} {
		text, err := os.ReadFile(of.file)
		if err != nil {
			return nil, fmt.Errorf("Can't create ID mappings: %w", err)
		}
		ranges, err := parseSubordinate(string(text))
		if err != nil {
			return nil, fmt.Errorf("Can't create ID mappings: %s: %w", of.file, err)
		}
		*of.into = mappings(ranges, name, u.Uid)
		if len(*of.into) == 0 {
			// dockerd says subuid of either file.
			return nil, fmt.Errorf("Can't create ID mappings: no subuid ranges found for user %q", name)
		}
	}
	return m, nil
}

// whose finds the user that a setting names; the group is looked up, but its numbers are those of the user's name.
func whose(setting string) (string, error) {
	first, group, hasGroup := strings.Cut(setting, ":")
	if strings.Contains(group, ":") {
		return "", fmt.Errorf("Invalid user/group specification in --userns-remap: %q", setting)
	}
	var name string
	if uid, err := strconv.ParseInt(first, 10, 32); err == nil {
		u, err := user.LookupId(strconv.FormatInt(uid, 10))
		if err != nil {
			return "", fmt.Errorf("Uid %d has no entry in /etc/passwd: %w", uid, err)
		}
		if name = u.Username; !hasGroup {
			group = first
		}
	} else {
		if name = first; name == defaultSetting {
			name = defaultUser
		}
		if _, err := user.Lookup(name); err != nil && first == defaultSetting {
			if err := addUser(name); err != nil {
				return "", fmt.Errorf("Error during %q user creation: %w", name, err)
			}
		} else if err != nil {
			return "", fmt.Errorf("Error during uid lookup for %q: %w", name, err)
		}
		if !hasGroup {
			group = name
		}
	}
	if gid, err := strconv.ParseInt(group, 10, 32); err == nil {
		if _, err := user.LookupGroupId(strconv.FormatInt(gid, 10)); err != nil {
			return "", fmt.Errorf("Gid %d has no entry in /etc/group: %w", gid, err)
		}
	} else if _, err := user.LookupGroup(group); err != nil {
		return "", fmt.Errorf("Error during gid lookup for %q: %w", group, err)
	}
	return name, nil
}

// subordinates are numbers that somebody may use.
type subordinates struct {
	name         string
	first, count uint32
}

func parseSubordinate(text string) ([]subordinates, error) {
	var all []subordinates
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) != 3 {
			return nil, fmt.Errorf("malformed line %q", line)
		}
		first, errFirst := strconv.ParseUint(f[1], 10, 32)
		count, errCount := strconv.ParseUint(f[2], 10, 32)
		if err := errors.Join(errFirst, errCount); err != nil {
			return nil, fmt.Errorf("malformed line %q: %w", line, err)
		}
		all = append(all, subordinates{f[0], uint32(first), uint32(count)})
	}
	return all, nil
}

// mappings give the numbers from 0 on to those of a user, one range after the other.
func mappings(all []subordinates, name, uid string) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	next := uint32(0)
	for _, n := range all {
		if (n.name == name || n.name == uid) && n.count > 0 {
			out = append(out, specs.LinuxIDMapping{ContainerID: next, HostID: n.first, Size: n.count})
			next += n.count
		}
	}
	return out
}

// How many subordinate numbers a new user gets, and the first that anybody gets.
const (
	rangeSize  = 65536
	rangeStart = 100000
)

// addUser adds a system user and a group of its name, with subordinate numbers, by the host's own programs.
func addUser(name string) error {
	add := [][]string{
		{"adduser", "--system", "--shell", "/bin/false", "--no-create-home", "--disabled-login", "--disabled-password", "--group", name},
		{"useradd", "-r", "-U", "-s", "/bin/false", name},
	}
	at := slices.IndexFunc(add, func(words []string) bool { _, err := exec.LookPath(words[0]); return err == nil })
	if at < 0 {
		return errors.New("cannot add user; no useradd/adduser binary found")
	}
	if err := command(add[at]...); err != nil {
		return fmt.Errorf("failed to add user: %w", err)
	}
	for _, kind := range []struct{ file, flag string }{{subordinateUsers, "-v"}, {subordinateGroups, "-w"}} {
		text, err := os.ReadFile(kind.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		all, err := parseSubordinate(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", kind.file, err)
		}
		if len(mappings(all, name, "")) > 0 {
			continue // the program that added the user has seen to it
		}
		first := freeRange(all)
		if err := command("usermod", kind.flag, fmt.Sprintf("%d-%d", first, uint64(first)+rangeSize-1), name); err != nil {
			return fmt.Errorf("couldn't create subordinate ID ranges: %w", err)
		}
	}
	return nil
}

// freeRange is where a range begins that overlaps nobody's.
func freeRange(all []subordinates) uint32 {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b subordinates) int { return int(int64(a.first) - int64(b.first)) })
	first := uint64(rangeStart)
	for _, n := range all {
		if first < uint64(n.first)+uint64(n.count) && uint64(n.first) < first+rangeSize {
			first = uint64(n.first) + uint64(n.count)
		}
	}
	return uint32(first)
}

func command(words ...string) error {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w; output: %q", words[0], err, bytes.TrimSpace(out))
	}
	return nil
}
