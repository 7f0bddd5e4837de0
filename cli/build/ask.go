package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/docker/go-units"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"
)

// question is something the front end is asked about a Dockerfile instead of building it.
type question struct {
	name, format string
	ignoreStatus bool
}

// parseCall reads --call; "build" asks nothing.
func parseCall(s string) (*question, error) {
	list, err := fields(s)
	if err != nil {
		return nil, err
	}
	q := &question{}
	for _, field := range list {
		key, val, ok := strings.Cut(field, "=")
		switch {
		case !ok && q.name == "":
			q.name = field
		case !ok:
			return nil, fmt.Errorf("invalid print value: %s", s)
		case key == "format":
			q.format = val
		case key == "ignorestatus":
			if q.ignoreStatus, err = strconv.ParseBool(val); err != nil {
				return nil, fmt.Errorf("invalid ignorestatus print value: %s: %w", val, err)
			}
		default:
			return nil, fmt.Errorf("invalid print field: %s", field)
		}
	}
	switch q.name {
	case "check":
		q.name = "lint"
	case "build", "":
		return nil, nil
	}
	return q, nil
}

// ask has the front end answer the question. Only through the gateway does the answer come back.
func (j *job) ask(ctx context.Context, d *display) (*client.SolveResponse, error) {
	req := gateway.SolveRequest{Frontend: j.opt.Frontend, FrontendOpt: maps.Clone(j.opt.FrontendAttrs)}
	caps := "moby.buildkit.frontend.subrequests+forward"
	if more := req.FrontendOpt["frontend.caps"]; more != "" {
		caps = more + "," + caps
	}
	req.FrontendOpt["frontend.caps"], req.FrontendOpt["requestid"] = caps, "frontend."+j.question.name
	answer := map[string][]byte{}
	opt := j.opt
	opt.Frontend = ""
	res, err := j.daemon.Build(ctx, opt, "", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		res, err := c.Solve(ctx, req)
		if err == nil {
			answer = res.Metadata
		}
		return res, err
	}, d.channel())
	if err != nil {
		return nil, err
	}
	if res.ExporterResponse == nil {
		res.ExporterResponse = map[string]string{}
	}
	for key, val := range answer {
		res.ExporterResponse[key] = string(val)
	}
	return res, nil
}

// show prints the answer. The front end may decide the exit code.
func (q *question) show(out io.Writer, answer map[string]string, source string) error {
	var err error
	switch q.name {
	case "outline":
		err = q.print(out, answer, outline.PrintOutline)
	case "targets":
		err = q.print(out, answer, targets.PrintTargets)
	case "subrequests.describe":
		err = q.print(out, answer, subrequests.PrintDescribe)
	case "lint":
		err = q.showWarnings(out, answer, source)
	default:
		err = q.print(out, answer, func([]byte, io.Writer) error {
			_, err := io.WriteString(out, answer["result.txt"])
			return err
		})
	}
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(answer["result.statuscode"]); err == nil && !q.ignoreStatus {
		return command.Exit(n)
	}
	return nil
}

func (q *question) print(out io.Writer, answer map[string]string, pretty func([]byte, io.Writer) error) error {
	raw := answer["result.json"]
	if q.format == "json" {
		_, err := fmt.Fprintln(out, raw)
		return err
	}
	return pretty([]byte(raw), out)
}

// showWarnings prints what a check has found, each with the lines it is about. The lines are said to be of source: the front
// end knows the Dockerfile by another name.
func (q *question) showWarnings(out io.Writer, answer map[string]string, source string) error {
	var found lint.LintResults
	if raw := answer["result.json"]; raw != "" {
		if err := json.Unmarshal([]byte(raw), &found); err != nil {
			return fmt.Errorf("read what the check has found: %w", err)
		}
	}
	if q.format == "json" {
		_, err := fmt.Fprintln(out, answer["result.json"])
		return err
	}
	renamed := func(info *pb.SourceInfo) *pb.SourceInfo {
		if info == nil || source == "" {
			return info
		}
		info = proto.Clone(info).(*pb.SourceInfo)
		info.Filename = source
		return info
	}
	switch n := len(found.Warnings); {
	case n == 1:
		fmt.Fprintln(out, "Check complete, 1 warning has been found!")
	case n > 1:
		fmt.Fprintf(out, "Check complete, %d warnings have been found!\n", n)
	}
	if err := found.PrintTo(out, renamed); err != nil {
		return err
	}
	if found.Error != nil {
		if len(found.Warnings) > 0 {
			fmt.Fprintln(out)
		}
		var text strings.Builder
		found.PrintErrorTo(&text, renamed)
		return errors.New(text.String())
	}
	if len(found.Warnings) == 0 {
		fmt.Fprintln(out, "Check complete, no warnings found.")
	}
	return nil
}

// fetchDockerfile has the daemon fetch the Dockerfile whose address --file is, and sends it back with the build.
func (j *job) fetchDockerfile(ctx context.Context, d *display) error {
	address := j.input.fetch
	var text []byte
	_, err := j.daemon.Build(ctx, client.SolveOpt{Internal: true}, "", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		def, err := llb.HTTP(address, llb.Filename("Dockerfile"), llb.WithCustomNamef("[internal] load %s", address)).Marshal(ctx)
		if err != nil {
			return nil, err
		}
		res, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
		if err != nil {
			return nil, err
		}
		file, err := res.SingleRef()
		if err != nil {
			return nil, err
		}
		st, err := file.StatFile(ctx, gateway.StatRequest{Path: "Dockerfile"})
		if err != nil {
			return nil, err
		}
		if st.Size > maxDockerfile {
			return nil, fmt.Errorf("Dockerfile %s bigger than allowed max size (%s)", address, units.HumanSize(maxDockerfile))
		}
		text, err = file.ReadFile(ctx, gateway.ReadRequest{Filename: "Dockerfile"})
		return nil, err
	}, d.channel())
	if err != nil {
		return err
	}
	return j.input.dockerfileOf(strings.NewReader(string(text)))
}
