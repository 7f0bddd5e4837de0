package seccomp

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// run is the kernel's side: it evaluates a program for one call.
func run(t *testing.T, code []Instruction, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	read := func(offset uint32) uint32 {
		switch {
		case offset == offsetNumber:
			return nr
		case offset == offsetArch:
			return arch
		}
		n := int(offset-offsetArgs) / argSize
		if n >= len(args) {
			return 0
		}
		return uint32(args[n] >> (8 * ((offset - offsetArgs) % argSize)))
	}
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		i := code[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Op {
		case opLoad:
			a = read(i.K)
		case opAnd:
			a &= i.K
		case opJump:
			pc += int(i.K)
		case opEqual:
			jump(a == i.K)
		case opGreater:
			jump(a > i.K)
		case opAtLeast:
			jump(a >= i.K)
		case opReturn:
			return i.K
		default:
			t.Fatalf("operation %#x", i.Op)
		}
	}
	t.Fatal("ran off the end")
	return 0
}

const (
	auditX86_64 = 0xc000_003e
	auditX86    = 0x4000_0003
)

func amd64(t *testing.T) {
	t.Helper()
	if native() != specs.ArchX86_64 {
		t.Skip("numbers are those of x86-64")
	}
}

func uintp(n uint) *uint { return &n }

func TestConditions(t *testing.T) {
	amd64(t)
	big := uint64(0x1_0000_0002)
	for _, tc := range []struct {
		arg     specs.LinuxSeccompArg
		allowed []uint64
		denied  []uint64
	}{
		{specs.LinuxSeccompArg{Value: big, Op: specs.OpEqualTo}, []uint64{big}, []uint64{2, big + 1, 1 << 32}},
		{specs.LinuxSeccompArg{Value: big, Op: specs.OpNotEqual}, []uint64{2, big + 1, 1 << 32, 0}, []uint64{big}},
		{specs.LinuxSeccompArg{Value: big, Op: specs.OpGreaterThan}, []uint64{big + 1, 2 << 32}, []uint64{big, big - 1, 3, 0}},
		{specs.LinuxSeccompArg{Value: big, Op: specs.OpGreaterEqual}, []uint64{big + 1, big, 2 << 32}, []uint64{big - 1, 3, 0}},
		{specs.LinuxSeccompArg{Value: big, Op: specs.OpLessThan}, []uint64{big - 1, 3, 0}, []uint64{big, big + 1, 2 << 32}},
		{specs.LinuxSeccompArg{Value: big, Op: specs.OpLessEqual}, []uint64{big - 1, big, 3, 0}, []uint64{big + 1, 2 << 32}},
		{specs.LinuxSeccompArg{Value: 0x1_0000_00f0, ValueTwo: 0x1_0000_0010, Op: specs.OpMaskedEqual}, []uint64{0x1_0000_0010, 0xf_0000_031f}, []uint64{0x10, 0x1_0000_0020}},
	} {
		tc.arg.Index = 2
		p, err := Compile(&specs.LinuxSeccomp{
			DefaultAction: specs.ActErrno,
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"write"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{tc.arg}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range []struct {
			values []uint64
			want   uint32
		}{{tc.allowed, retAllow}, {tc.denied, retErrno | eperm}} {
			for _, v := range list.values {
				if got := run(t, p.Code, auditX86_64, 1, 0, 0, v); got != list.want {
					t.Errorf("%s %#x: %#x gives %#x, want %#x", tc.arg.Op, tc.arg.Value, v, got, list.want)
				}
			}
		}
	}
}

func TestRules(t *testing.T) {
	amd64(t)
	p, err := Compile(&specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX32},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "close", "nosuchcall"}, Action: specs.ActAllow},
			{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: uintp(enosys)},
			{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 8, Op: specs.OpEqualTo}}},
			{Names: []string{"personality"}, Action: specs.ActTrap},
			{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 9, Op: specs.OpEqualTo}}},
			{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 1, Op: specs.OpEqualTo}, {Index: 0, Value: 2, Op: specs.OpEqualTo}}},
			{Names: []string{"mmap"}, Action: specs.ActKillProcess},
			{Names: []string{"ptrace"}, Action: specs.ActTrace, ErrnoRet: uintp(7)},
			{Names: []string{"sync"}, Action: specs.ActLog},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		arch uint32
		nr   uint32
		arg  uint64
		want uint32
	}{
		{"read", auditX86_64, 0, 0, retAllow}, {"write", auditX86_64, 1, 0, retErrno | eperm}, {"open", auditX86_64, 2, 0, retErrno | eperm},
		{"close", auditX86_64, 3, 0, retAllow}, {"stat", auditX86_64, 4, 0, retErrno | eperm},
		{"clone3", auditX86_64, 435, 0, retErrno | enosys}, {"newer", auditX86_64, 436, 0, retErrno | enosys}, {"much newer", auditX86_64, 4000, 0, retErrno | enosys},
		{"personality 8", auditX86_64, 135, 8, retAllow}, {"personality 9", auditX86_64, 135, 9, retAllow}, {"personality 7", auditX86_64, 135, 7, retTrap},
		{"socket 1", auditX86_64, 41, 1, retAllow}, {"socket 2", auditX86_64, 41, 2, retAllow}, {"socket 3", auditX86_64, 41, 3, retErrno | eperm},
		{"mmap", auditX86_64, 9, 0, retKillProcess}, {"ptrace", auditX86_64, 101, 0, retTrace | 7}, {"sync", auditX86_64, 162, 0, retLog},
		{"x32 read", auditX86_64, x32Bit, 0, retAllow}, {"x32 write", auditX86_64, x32Bit | 1, 0, retErrno | eperm}, {"x32 ptrace", auditX86_64, x32Bit | 521, 0, retTrace | 7},
		{"skipped", auditX86_64, ^uint32(0), 0, retErrno | eperm},
		{"another architecture", auditX86, 3, 0, retKillProcess},
	} {
		if got := run(t, p.Code, tc.arch, tc.nr, tc.arg); got != tc.want {
			t.Errorf("%s: got %#x, want %#x", tc.name, got, tc.want)
		}
	}
}

func dockerProfile(t testing.TB) *specs.LinuxSeccomp {
	t.Helper()
	caps := []string{"CAP_CHOWN", "CAP_SYS_CHROOT"}
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestEveryCall compares the program for Docker's profile with a plain reading of the profile, for every number.
func TestEveryCall(t *testing.T) {
	amd64(t)
	profile := dockerProfile(t)
	p, err := Compile(profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range architectures {
		if a.audit != auditX86_64 && a.audit != auditX86 {
			continue
		}
		numbers, err := a.numbers()
		if err != nil {
			t.Fatal(err)
		}
		for name, nr := range numbers {
			for _, arg := range []uint64{0, 1, 8, 40, 0x0002_0000, 0x7e02_0000, 0xffff_ffff} {
				want := reading(t, profile, name, arg)
				if name == "open_tree_attr" && a.bit == 0 { // newer than the profile
					want = retErrno | enosys
				}
				if got := run(t, p.Code, a.audit, nr, arg); got != want {
					t.Errorf("%s %s(%#x): got %#x, want %#x", a.name, name, arg, got, want)
				}
			}
		}
	}
	if len(p.Code) > 1200 {
		t.Errorf("program has %d instructions", len(p.Code))
	}
	t.Logf("%d instructions", len(p.Code))
}

// reading says what a profile wants of a call whose first argument is arg and whose others are 0. Calls in no rule
// are expected to be below some call that is.
func reading(t *testing.T, p *specs.LinuxSeccomp, name string, arg uint64) uint32 {
	t.Helper()
	result, final := uint32(retErrno|eperm), false
	for _, rule := range p.Syscalls {
		for _, n := range rule.Names {
			if n != name {
				continue
			}
			ret, err := action(rule.Action, rule.ErrnoRet)
			if err != nil {
				t.Fatal(err)
			}
			holds := true
			for _, a := range rule.Args {
				v := uint64(0)
				if a.Index == 0 {
					v = arg
				}
				switch a.Op {
				case specs.OpEqualTo:
					holds = holds && v == a.Value
				case specs.OpNotEqual:
					holds = holds && v != a.Value
				case specs.OpLessThan:
					holds = holds && v < a.Value
				case specs.OpGreaterThan:
					holds = holds && v > a.Value
				case specs.OpMaskedEqual:
					holds = holds && v&a.Value == a.ValueTwo
				default:
					t.Fatalf("operator %s", a.Op)
				}
			}
			switch {
			case len(rule.Args) > 0 && holds:
				return ret
			case len(rule.Args) == 0 && !final:
				result, final = ret, true
			}
		}
	}
	return result
}

func TestCache(t *testing.T) {
	dir, profile := filepath.Join(t.TempDir(), "seccomp"), dockerProfile(t)
	first, err := Load(profile, dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	again, err := Load(profile, dir)
	if err != nil || !reflect.DeepEqual(first, again) {
		t.Fatalf("cached program differs: %v", err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if _, err := decode(b); !errors.Is(err, errBadCache) {
		t.Errorf("a damaged program is accepted: %v", err)
	}
	if err := os.WriteFile(files[0], b, 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err = Load(profile, dir); err != nil || !reflect.DeepEqual(first, again) {
		t.Fatalf("a damaged cache is used: %v", err)
	}
	other := *profile
	other.Syscalls = other.Syscalls[1:]
	if key(profile) == key(&other) {
		t.Error("two profiles have one key")
	}
	if _, err := Load(profile, filepath.Join(dir, "absent")); err != nil {
		t.Errorf("without a cache: %v", err)
	}
}

func TestInvalid(t *testing.T) {
	for name, p := range map[string]specs.LinuxSeccomp{
		"action":   {DefaultAction: "SCMP_ACT_NONE"},
		"flag":     {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}},
		"argument": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
		"operator": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "X"}}}}},
	} {
		if _, err := Compile(&p); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(Program{Code: []Instruction{{Op: opReturn, K: retAllow}}, Flags: 4}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decode(b)
		if err == nil && len(p.Code) == 0 {
			t.Error("an empty program is accepted")
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	profile := dockerProfile(b)
	for b.Loop() {
		if _, err := Compile(profile); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	profile, dir := dockerProfile(b), b.TempDir()
	for b.Loop() {
		if _, err := Load(profile, dir); err != nil {
			b.Fatal(err)
		}
	}
}
