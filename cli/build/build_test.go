package build

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cove-containers/cove/cli/command"
	"github.com/moby/buildkit/client"
	"github.com/spf13/pflag"
	"github.com/tonistiigi/fsutil"
)

// decide reads args and gives what the daemon would be sent, as "key=value" lines, or the error.
func decide(t *testing.T, args ...string) (string, client.SolveOpt) {
	t.Helper()
	o := &options{}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.inputFlags(fs)
	o.resultFlags(fs)
	o.stepFlags(fs)
	o.oldFlags(fs)
	opt := client.SolveOpt{FrontendAttrs: map[string]string{}, LocalMounts: map[string]fsutil.FS{}}
	a := &command.App{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}
	err := fs.Parse(args)
	if err == nil {
		o.context = fs.Arg(0)
		err = o.settle()
	}
	if err == nil {
		err = o.frontend(a, "unix:///x", &opt)
	}
	if err == nil {
		err = o.caches(&opt)
	}
	if err == nil {
		opt.Exports, err = o.exports(a)
	}
	if err != nil {
		return err.Error(), opt
	}
	return "", opt
}

func TestFlagsBecomeAttributes(t *testing.T) {
	t.Setenv("COVE_CONFIG", t.TempDir())
	t.Setenv("FROM_ENV", "e")
	for _, c := range []struct{ args, want string }{
		{".", `{"image-resolve-mode":"local"}`},
		{"--pull .", `{"image-resolve-mode":"pull"}`},
		{"--build-arg A=1=2 --build-arg FROM_ENV --build-arg NOT_SET .", `{"build-arg:A":"1=2","build-arg:FROM_ENV":"e"}`},
		{"--label a=b --label c .", `{"label:a":"b","label:c":""}`},
		{"--no-cache .", `{"no-cache":""}`},
		{"--no-cache-filter a --no-cache-filter b .", `{"no-cache":"a,b"}`},
		{"--platform linux/arm64,linux/amd64 --platform linux/arm/v7 .", `{"platform":"linux/arm64,linux/amd64,linux/arm/v7"}`},
		{"--target t --cgroup-parent p --shm-size 64m --ulimit nofile=1:2 --ulimit core=0 .", `{"target":"t","cgroup-parent":"p","shm-size":"67108864","ulimit":"nofile=1:2,core=0:0"}`},
		{"-m 1g --memory-swap -1 -c 5 --cpu-period 1 --cpu-quota 2 --cpuset-cpus 0-1 --cpuset-mems 0 .",
			`{"run:memory":"1073741824","run:memory-swap":"-1","run:cpu-shares":"5","run:cpu-period":"1","run:cpu-quota":"2","run:cpuset-cpus":"0-1","run:cpuset-mems":"0"}`},
		{"--network none .", `{"force-network-mode":"none"}`},
		{"--network host .", `{"force-network-mode":"host"}`},
		{"--network mine .", `{"run:network":"mine"}`},
		{"--provenance false --sbom generator=x .", `{"attest:sbom":"type=sbom,generator=x"}`},
		{"--attest type=provenance,mode=max .", `{"attest:provenance":"type=provenance,mode=max"}`},
		{"--build-arg BUILDKIT_MULTI_PLATFORM=1 .", `{"build-arg:BUILDKIT_MULTI_PLATFORM":"1","multi-platform":"true"}`},
	} {
		failed, opt := decide(t, strings.Fields(c.args)...)
		want := map[string]string{"image-resolve-mode": "local"}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(opt.FrontendAttrs)
		expected, _ := json.Marshal(want)
		if failed != "" || string(got) != string(expected) {
			t.Errorf("%s\n got %s %s\nwant %s", c.args, got, failed, expected)
		}
	}
}

func TestOutputs(t *testing.T) {
	t.Setenv("COVE_CONFIG", t.TempDir())
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{".", "moby {}"},
		{"-t a -t b:1 .", `moby {"name":"a,b:1"}`},
		{"-t a --push .", `moby {"name":"a","push":"true"}`},
		{"-t a --load --push .", `moby {"name":"a","push":"true"}`},
		{"--load -o type=oci,dest=" + dir + "/x .", "oci {} moby {}"},
		{"-o type=registry,name=r/x .", `moby {"name":"r/x","push":"true"}`},
		{"-t a -o type=image,name=r/x,push=true .", `moby {"name":"a","push":"true"}`},
		{"-o " + dir + " .", "local {}"},
		{"-o - .", "tar {}"},
		{"-t a -o type=docker,dest=" + dir + "/y .", `docker {"name":"a"}`},
		{"-o type=docker .", "moby {}"},
		{"-o type=oci,tar=false,dest=" + dir + " .", `oci {"tar":"false"}`},
		{"-o type=cacheonly .", ""},
		{"--squash .", `moby {"squash":"true"}`},
		{"--annotation k=v --annotation index,manifest[linux/amd64]:q=w .", `moby {"annotation-index.q":"w","annotation-manifest[linux/amd64].q":"w","annotation.k":"v"}`},
		{"--push .", "! tag is needed when pushing to registry"},
		{"-t x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 .", "! invalid tag"},
		{"-t Foo .", `! invalid tag "Foo": invalid reference format`},
		{"-o type=local .", "! dest is required for local exporter"},
		{"-o " + file + " .", "! destination directory " + file + " is a file"},
		{"-o type=tar,dest=" + dir + " .", "! destination file " + dir + " is a directory"},
		{"-o type=nope,dest=x .", `! exporter "nope" could not be found`},
		{"-o dest=x,y .", "! invalid value y"},
		{"-o dest=x,a=b .", "! type is required for output"},
		{"--iidfile i -o " + dir + " .", "! local and tar exporters are incompatible with image ID file"},
		{"--annotation x:k=v .", `! unknown annotation type "x"`},
		{"--annotation k .", `! invalid annotation "k", expected key=value`},
		{"--no-cache --no-cache-filter a .", "! --no-cache and --no-cache-filter cannot currently be used together"},
		{"-q --progress plain .", "! progress=plain and quiet cannot be used together"},
		{"--allow root .", "! unknown entitlement root"},
		{"--attest mode=max .", "! attestation type not specified"},
		{"--sbom true --attest type=sbom .", "! duplicate attestation field sbom"},
		{"--platform nonsense/x/y/z .", "! "},
		{"--ulimit nofile .", `! invalid argument "nofile"`},
		{"--cache-to type=gha .", `! cache of type "gha" is not supported`},
		{"--cache-from x=y .", "! type required form> \"x=y\""},
		{"--build-arg =x .", `! invalid key-value pair "=x": empty key`},
	} {
		failed, opt := decide(t, strings.Fields(c.args)...)
		var got []string
		for _, e := range opt.Exports {
			attrs, _ := json.Marshal(e.Attrs)
			got = append(got, e.Type+" "+string(attrs))
		}
		if want, ok := strings.CutPrefix(c.want, "! "); ok {
			if failed == "" || !strings.HasPrefix(failed, want) {
				t.Errorf("%s: got %q, want %q", c.args, failed, want)
			}
		} else if failed != "" || strings.Join(got, " ") != c.want {
			t.Errorf("%s\n got %s %s\nwant %s", c.args, strings.Join(got, " "), failed, c.want)
		}
	}
}

func TestCaches(t *testing.T) {
	t.Setenv("COVE_CONFIG", t.TempDir())
	failed, opt := decide(t, "--cache-from", "r/x,r/y", "--cache-from", "type=local,src=d", "--cache-to", "type=registry,ref=r/z,mode=max",
		"--build-arg", "BUILDKIT_INLINE_CACHE=1", ".")
	got, _ := json.Marshal([]any{opt.CacheImports, opt.CacheExports})
	want := `[[{"Type":"registry","Attrs":{"ref":"r/x"}},{"Type":"registry","Attrs":{"ref":"r/y"}},{"Type":"local","Attrs":{"src":"d"}}],` +
		`[{"Type":"registry","Attrs":{"mode":"max","ref":"r/z"}},{"Type":"inline","Attrs":{}}]]`
	if failed != "" || string(got) != want {
		t.Errorf("%s\n got %s\nwant %s", failed, got, want)
	}
}

func TestContexts(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{"a/Dockerfile": "FROM a", "b/dockerfile": "FROM b", "c/x": "", "other": "FROM o"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644})
	_ = w.Close()
	for _, c := range []struct{ args, stdin, want string }{
		{"a", "", `{"filename":"Dockerfile"} context dockerfile`},
		{"b", "", `{"filename":"dockerfile"} context dockerfile`},
		{"-f other a", "", `{"filename":"other"} context dockerfile`},
		{"-f - a", "FROM x", `{"dockerfilekey":"dockerfile","filename":"Dockerfile"} context dockerfile`},
		{"-f http://h/Dockerfile a", "", `{} context`},
		{"-", "FROM x", `{"dockerfilekey":"dockerfile","filename":"Dockerfile"} context dockerfile`},
		{"-", "", `{"dockerfilekey":"dockerfile","filename":"Dockerfile"} context dockerfile`},
		{"-", archive.String(), `{"context":"http://buildkit-session/*","filename":"Dockerfile"}`},
		{"-f d/e -", archive.String(), `{"context":"http://buildkit-session/*","filename":"d/e"}`},
		{"https://h/x.git#main:d", "", `{"context":"https://h/x.git#main:d","filename":"Dockerfile"}`},
		{"git@h:x/y.git", "", `{"context":"git@h:x/y.git","filename":"Dockerfile"}`},
		{"-f q http://h/x.tar", "", `{"context":"http://h/x.tar","filename":"q"}`},
		{"-f - http://h/x.tar", "FROM x", `{"context":"http://h/x.tar","dockerfilekey":"dockerfile","filename":"Dockerfile"} dockerfile`},
		{"--build-context n=c --build-context i=docker-image://x a", "",
			`{"context:i":"docker-image://x","context:n":"local:n","filename":"Dockerfile","frontend.caps":"moby.buildkit.frontend.contexts+forward"} context dockerfile n`},
		{"nowhere", "", `! unable to prepare context: path "nowhere" not found`},
		{"other", "", `! unable to prepare context: path "other" not found`},
		{"-f - -", "", "! invalid argument: can't use stdin for both build context and dockerfile"},
		{"-f x -", "FROM x", "! ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"},
		{"--build-context n=nowhere a", "", "! failed to get build context n: stat nowhere"},
		{"--build-context n=other a", "", "! failed to get build context path other: not a directory"},
		{"--build-context n a", "", "! invalid context value: n, expected key=value"},
		{"--build-context n=oci-layout://c a", "", `! oci-layout reference "oci-layout://c" could not be resolved`},
	} {
		o := &options{}
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		o.inputFlags(fs)
		if err := fs.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		o.context = fs.Arg(0)
		opt := client.SolveOpt{FrontendAttrs: map[string]string{}, LocalMounts: map[string]fsutil.FS{}}
		in, err := o.inputs(strings.NewReader(c.stdin), &opt)
		if want, ok := strings.CutPrefix(c.want, "! "); ok {
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: %v, want %s", c.args, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if s := opt.FrontendAttrs["context"]; strings.HasPrefix(s, "http://buildkit-session/") {
			opt.FrontendAttrs["context"] = "http://buildkit-session/*"
		}
		raw, _ := json.Marshal(opt.FrontendAttrs)
		got := []string{string(raw)}
		for _, name := range []string{"context", "dockerfile", "n"} {
			if opt.LocalMounts[name] != nil {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.args, strings.Join(got, " "), c.want)
		}
		in.release()
		for _, dir := range in.temp {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s: %s is left", c.args, dir)
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	for given, want := range map[string]string{
		"id=a,src=f":          "{a f }",
		"id=a,source=f":       "{a f }",
		"id=a":                "{a  }",
		"id=a,env=E":          "{a  E}",
		"type=env,id=a":       "{a  }",
		"id=a,type=env,src=E": "{a  E}",
		"id":                  "! invalid field 'id' must be a key=value pair",
		"id=a,x=y":            "! unexpected key 'x' in 'x=y'",
		"type=x,id=a":         `! unsupported secret type "x"`,
	} {
		list, err := parseSecrets([]string{given})
		got := ""
		if err != nil {
			got = "! " + err.Error()
		} else {
			got = "{" + list[0].ID + " " + list[0].FilePath + " " + list[0].Env + "}"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}

func TestQuestions(t *testing.T) {
	for given, want := range map[string]*question{
		"build": nil, "": nil, "check": {name: "lint"}, "outline,format=json": {name: "outline", format: "json"},
		"lint,ignorestatus=true": {name: "lint", ignoreStatus: true},
	} {
		got, err := parseCall(given)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: %+v %v", given, got, err)
		}
	}
	for _, bad := range []string{"a,b", "a,x=y", "a,ignorestatus=maybe"} {
		if _, err := parseCall(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	var out bytes.Buffer
	q := &question{name: "lint"}
	answer := map[string]string{"result.statuscode": "1", "result.json": `{"warnings":[{"ruleName":"R","description":"d","detail":"do it","location":{"ranges":[{"start":{"line":1},"end":{"line":1}}]}}],
		"sources":[{"filename":"Dockerfile","data":"RlJPTSBhCg=="}]}`}
	err := q.show(&out, answer, "dir/Dockerfile")
	if err == nil || !strings.Contains(out.String(), "Check complete, 1 warning has been found!") || !strings.Contains(out.String(), "dir/Dockerfile:1") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func FuzzAttributes(f *testing.F) {
	for _, s := range []string{"", "a=b", `"a=b,c",d=e`, "a", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) {
		_, _ = attributes(s)
		_, _ = parseSecrets([]string{s})
		_, _ = parseAnnotations([]string{s})
		_, _ = parseOutputs([]string{s})
		_ = isArchive([]byte(s))
	})
}
