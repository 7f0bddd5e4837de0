package test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cove-containers/cove/testkit"
)

// A door is a way to an engine: a client ($E), and what its environment has besides.
type door struct {
	name, client string
	env          func(*testing.T) []string
}

// doors are the ways scripts of an area take. Images are built with BuildKit's protocol, by cove and by the docker client with
// its plugin, and with the API that docker has had before that ("classic").
func doors(t *testing.T, area string) []door {
	all := []door{{name: "cove", client: "cove"}}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Log("the stock docker client is not installed: scripts run with cove only")
		return all
	}
	if area != "build" {
		return append(all, door{name: "docker", client: "docker"})
	}
	return append(all,
		door{name: "classic", client: "docker", env: func(*testing.T) []string { return []string{"DOCKER_BUILDKIT=0"} }},
		door{name: "buildx", client: "docker", env: func(t *testing.T) []string {
			return []string{"DOCKER_CONFIG=" + plugins(t, map[string]string{"buildx": buildx(t)})}
		}})
}

// TestScripts runs each script of scripts/ with the cove command line and with the stock docker client ($E), each
// time against an engine of its own that holds busybox and alpine. A script whose first line is "# cove only" has
// no counterpart in the docker client.
func TestScripts(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	all, err := filepath.Glob("scripts/*/*.txt")
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range all {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		area := filepath.Base(filepath.Dir(script))
		name := strings.TrimSuffix(filepath.Base(script), ".txt")
		for _, d := range doors(t, area) {
			if d.client != "cove" && strings.HasPrefix(string(text), "# cove only") {
				continue
			}
			t.Run(d.name+"/"+area+"/"+name, func(t *testing.T) {
				t.Parallel()
				runScript(t, d, script)
			})
		}
	}
}

func runScript(t *testing.T, d door, script string) {
	var besides []string
	if d.env != nil {
		besides = d.env(t)
	}
	e := newEngine(t)
	e.Start()
	e.Load("busybox", "alpine")
	testscript.RunT(serial{t}, testscript.Params{
		Files: []string{script},
		Setup: func(env *testscript.Env) error {
			for _, pair := range append(e.Env(), besides...) {
				k, v, _ := strings.Cut(pair, "=")
				env.Setenv(k, v)
			}
			env.Setenv("E", d.client)
			env.Setenv("B", "busybox")
			env.Setenv("A", "alpine:3.20")
			env.Setenv("IMAGES", images(t))
			env.Setenv("T", env.WorkDir)
			env.Setenv("DATA", e.DataRoot)
			env.Setenv("NET", e.Subnet)
			env.Setenv("NET6", e.Subnet6)
			for i, port := range freePorts(5) {
				env.Setenv("P"+strconv.Itoa(i), strconv.Itoa(port))
			}
			env.Values["engine"], env.Values["registries"] = e, &registryBox{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"rc": exitStatus, "craft": craft, "registry": registry, "push": push, "daemon": daemon, "eventually": eventually,
			"within": within, "xattr": extendedAttribute, "serve": serveScript, "accounts": accounts,
			"build": buildScript, "web": web,
		},
		Condition: func(name string) (bool, error) {
			if name != "criu" {
				return name == d.name, nil
			}
			why := testkit.WorkingCriu()
			if why != nil {
				t.Log(why)
			}
			return why == nil, nil
		},
	})
}

// serial keeps a script in its test's own turn: testscript would queue it behind every other test, each with its engine up.
type serial struct{ *testing.T }

func (s serial) Parallel()     {}
func (s serial) Verbose() bool { return testing.Verbose() }
func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(serial{t}) })
}

var nextPort atomic.Int32

// freePorts gives ports that follow one another and that nobody has, below those the kernel gives away: they stay free while
// whoever has them is killed and started again. No two calls give the same. From 20000 on they are left to the networks' own tests, which take
// ten thousand.
func freePorts(n int) []int {
	for {
		first := 10000 + (os.Getpid()*97+int(nextPort.Add(int32(n)))-n)%(10000-n)
		var ports []int
		for port := first; port < first+n; port++ {
			l, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
			if err != nil {
				break
			}
			l.Close()
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports
		}
	}
}

func engineOf(ts *testscript.TestScript) *Engine { return ts.Value("engine").(*Engine) }

// exitStatus runs a program and expects exactly this exit status: rc 125 $E run --nope busybox
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: rc STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// craft makes an image from a recipe file and loads it: craft x:1 recipe.txt [on busybox|alone] ; "craft -archive FILE" only writes.
func craft(ts *testscript.TestScript, neg bool, args []string) {
	var into string
	if len(args) > 1 && args[0] == "-archive" {
		into, args = ts.MkAbs(args[1]), args[2:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: craft [-archive FILE] NAME RECIPE [alone]")
	}
	im := craftImage(ts, args[1], len(args) > 2 && args[2] == "alone")
	archive, err := im.DockerArchive(args[0])
	ts.Check(err)
	if into != "" {
		ts.Check(os.WriteFile(into, archive, 0o644))
		return
	}
	file := filepath.Join(ts.Getenv("WORK"), "crafted.tar")
	ts.Check(os.WriteFile(file, archive, 0o644))
	err = ts.Exec(ts.Getenv("E"), "load", "-i", file)
	if (err != nil) != neg {
		ts.Fatalf("load %s: %v", args[0], err)
	}
}

func craftImage(ts *testscript.TestScript, recipe string, alone bool) *testkit.Image {
	var base *testkit.Image
	if !alone {
		f, err := os.Open(filepath.Join(ts.Getenv("IMAGES"), "busybox.tar"))
		ts.Check(err)
		defer f.Close()
		base, err = testkit.FromLayout(f, runtime.GOARCH)
		ts.Check(err)
	}
	im, err := testkit.Craft(ts.ReadFile(recipe), base)
	ts.Check(err)
	return im
}

// registry starts a registry and sets R to its address: registry [auth=bearer] [cut=N] [norange] [rate=N] ...; "registry log" prints
// its requests to the file requests.
func registry(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 && args[0] == "log" {
		var out strings.Builder
		for _, q := range ts.Value("registries").(*registryBox).Log() {
			fmt.Fprintf(&out, "%d %s %s %s auth=%s range=%s query=%s", q.Port, q.Method, q.Path, strconv.Itoa(q.Status), q.Authorization, q.Range, q.RawQuery)
			if q.Bytes > 0 {
				fmt.Fprintf(&out, " bytes=%d", q.Bytes)
			}
			out.WriteString("\n")
		}
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "requests"), []byte(out.String()), 0o644))
		return
	}
	f := testkit.Faults{User: "u", Password: "p", RetryAfter: "1"}
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		n, _ := strconv.Atoi(v)
		switch k {
		case "auth":
			f.Auth = v
		case "field":
			f.TokenField = v
		case "anon":
			f.Anonymous = true
		case "realmq":
			f.RealmQuery = true
		case "redirect":
			f.RedirectBlobs = true
		case "cut":
			f.CutAfter = n
		case "norange":
			f.NoRange = true
		case "stall":
			f.Stall = true
		case "html":
			f.HTML = true
		case "refuse":
			f.RefuseManifests = n
		case "after":
			f.RetryAfter = v
		case "nodigest":
			f.NoDigest = true
		case "search":
			f.Search = []byte(ts.ReadFile(v))
		case "nocatalog":
			f.NoCatalog = true
		case "rate":
			f.Rate = n
		case "relloc":
			f.RelativeLocation = true
		case "elsewhere":
			f.UploadElsewhere = true
		case "mount":
			f.Mount = n
		case "cutupload":
			f.CutUpload = n
		case "maxbody":
			f.MaxBody = int64(n)
		case "refuseuploads":
			f.RefuseUploads = n
		case "failmanifests":
			f.FailManifests = n
		case "denyscope":
			f.DenyScope = v
		default:
			ts.Fatalf("no fault %q", k)
		}
	}
	r, err := testkit.NewRegistry("127.0.0.1:0", f, nil)
	ts.Check(err)
	ts.Defer(r.Close)
	ts.Value("registries").(*registryBox).Registry = r
	ts.Setenv("R", r.Host())
}

// push puts a crafted image into the registry: push x:1 recipe.txt [alone]; it prints nothing.
func push(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: push NAME:TAG RECIPE [alone]")
	}
	repository, tag, _ := strings.Cut(args[0], ":")
	im := craftImage(ts, args[1], len(args) > 2)
	d := ts.Value("registries").(*registryBox).Push(repository, tag, im)
	ts.Setenv("DIGEST", d.String())
}

// registryBox lets a command of a script find the registry an earlier one started.
type registryBox struct {
	*testkit.Registry
	served map[string]*served // by address
}

// daemon ends or starts the script's engine, or has it read its file again: daemon stop | kill | start | restart | reload
func daemon(ts *testscript.TestScript, neg bool, args []string) {
	e := engineOf(ts)
	switch args[0] {
	case "stop":
		e.Stop()
	case "kill":
		e.Kill()
	case "start":
		ts.Check(e.TryStart())
	case "restart":
		e.Stop()
		e.Args = append(e.Args, args[1:]...)
		ts.Check(e.TryStart())
	case "reload":
		ts.Check(e.daemon.Process.Signal(syscall.SIGHUP))
	default:
		ts.Fatalf("usage: daemon stop|kill|start|restart|reload [FLAG ...]")
	}
}

// eventually repeats a command until it succeeds and prints the given text: eventually 5s TEXT $E ps
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	e := engineOf(ts)
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		out, errOut, _ := e.Try(args[2:]...)
		if strings.Contains(out+errOut, args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %v: %q in\n%s%s", limit, args[1], out, errOut)
		}
	}
}

// within runs a command and expects it to take at least and at most so long, and to fail after a !: within 1s 3s [!] $E stop x
func within(ts *testscript.TestScript, neg bool, args []string) {
	low, err := time.ParseDuration(args[0])
	ts.Check(err)
	high, err := time.ParseDuration(args[1])
	ts.Check(err)
	args = args[2:]
	if args[0] == "!" {
		neg, args = true, args[1:]
	}
	start := time.Now()
	err = ts.Exec(args[0], args[1:]...)
	took := time.Since(start)
	if (err != nil) != neg {
		ts.Fatalf("%v", err)
	}
	if took < low || took > high {
		ts.Fatalf("took %v, want %v to %v", took, low, high)
	}
}

// extendedAttribute expects a file to have an extended attribute of this value: xattr FILE NAME HEX
func extendedAttribute(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: xattr FILE NAME HEX")
	}
	value := make([]byte, 4096)
	n, err := syscall.Getxattr(ts.MkAbs(args[0]), args[1], value)
	if err != nil {
		ts.Fatalf("%s of %s: %v", args[1], args[0], err)
	}
	if got := hex.EncodeToString(value[:n]); got != args[2] {
		ts.Fatalf("%s of %s is %s, want %s", args[1], args[0], got, args[2])
	}
}
