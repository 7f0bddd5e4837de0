// Package classic tells the progress of a build as Docker's first builder told it, line by line: "Step 1/3 : FROM
// busybox". Programs written for it look for these lines.
package classic

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Step is one instruction.
type Step struct {
	// Text is the instruction as it is written.
	Text string
	// Stage is the number of its stage, -1 before the first; Index is which of the stage's instructions that make
	// something it is, from 1, or 0 for one that only changes settings.
	Stage, Index int
	// Alone tells that it needs nothing of what stands before it: COPY --link begins at once.
	Alone bool
}

// Steps are the instructions of a Dockerfile, up to the end of the target's stage.
type Steps struct {
	List   []Step
	names  []string
	needed []bool
}

// Read finds the steps of a Dockerfile. The front end says what is wrong with one that cannot be read.
func Read(dockerfile []byte, target string) (*Steps, error) {
	tree, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil, err
	}
	stages, globals, err := instructions.Parse(tree.AST, linter.New(&linter.Config{SkipAll: true}))
	if err != nil {
		return nil, err
	}
	s := &Steps{}
	for i := range globals {
		s.List = append(s.List, Step{Text: globals[i].String(), Stage: -1})
	}
	last := len(stages) - 1
	for i := range stages {
		if target != "" && (strings.EqualFold(stages[i].Name, target) || strconv.Itoa(i) == target) {
			last = i
		}
	}
	for i := range stages[:last+1] {
		s.stage(i, &stages[i], stages[:i])
	}
	s.needed = needed(stages[:last+1])
	return s, nil
}

func (s *Steps) stage(number int, stage *instructions.Stage, before []instructions.Stage) {
	index := 0
	from := Step{Text: stage.SourceCode, Stage: number}
	if stage.BaseName != "scratch" && find(before, stage.BaseName) < 0 {
		index++
		from.Index = index
	}
	s.List = append(s.List, from)
	for _, command := range stage.Commands {
		step := Step{Text: text(command), Stage: number}
		switch c := command.(type) {
		case *instructions.CopyCommand:
			step.Alone = c.Link
		case *instructions.AddCommand:
			step.Alone = c.Link
		}
		switch command.(type) {
		case *instructions.AddCommand, *instructions.CopyCommand, *instructions.RunCommand, *instructions.WorkdirCommand:
			index++
			step.Index = index
		}
		s.List = append(s.List, step)
	}
	name := stage.Name
	if name == "" {
		name = "stage-" + strconv.Itoa(number)
	}
	s.names = append(s.names, name)
}

func text(c instructions.Command) string {
	if written, ok := c.(interface{ String() string }); ok {
		return written.String()
	}
	return strings.ToUpper(c.Name())
}

// find gives the number of the stage of that name, or -1. The last of several counts.
func find(stages []instructions.Stage, name string) int {
	for i := len(stages) - 1; i >= 0; i-- {
		if strings.EqualFold(stages[i].Name, name) {
			return i
		}
	}
	return -1
}

// needed tells which stages the last one is made of. A name that holds a variable may be any stage's.
func needed(stages []instructions.Stage) []bool {
	out := make([]bool, len(stages))
	var need func(i int)
	mark := func(before []instructions.Stage, name string) {
		if strings.Contains(name, "$") {
			for j := range before {
				need(j)
			}
			return
		}
		if number, err := strconv.Atoi(name); err == nil && number >= 0 && number < len(before) {
			need(number)
		} else if j := find(before, name); j >= 0 {
			need(j)
		}
	}
	need = func(i int) {
		if out[i] {
			return
		}
		out[i] = true
		mark(stages[:i], stages[i].BaseName)
		for _, command := range stages[i].Commands {
			switch c := command.(type) {
			case *instructions.CopyCommand:
				mark(stages[:i], c.From)
			case *instructions.RunCommand:
				for _, m := range mountSource.FindAllStringSubmatch(c.String(), -1) {
					mark(stages[:i], m[1])
				}
			}
		}
	}
	if len(stages) > 0 {
		need(len(stages) - 1)
	}
	return out
}

// mountSource finds the stages in --mount=type=bind,from=NAME,….
var mountSource = regexp.MustCompile(`--mount=\S*\bfrom=([^\s,]+)`)

// title is how the front end calls what an instruction makes: "[build 2/5] RUN make", with a platform before the stage
// when several are built.
var title = regexp.MustCompile(`^\[(?:(.*) )? *(\d+)/(\d+)\] (ONBUILD )?(.*)$`)

// position reads of a piece of work which stage it belongs to, -1 if to none, which of those that make something it is there,
// from 1, and whether the base image has asked for it.
func (s *Steps) position(name string) (stage, index int, inherited bool) {
	m := title.FindStringSubmatch(name)
	if m == nil {
		return -1, 0, false
	}
	index, _ = strconv.Atoi(m[2])
	stage = -1
	for i, n := range s.names {
		if words := strings.Fields(m[1]); len(words) == 0 || strings.EqualFold(words[len(words)-1], n) {
			stage = i
		}
	}
	return stage, index, m[4] != ""
}

// locate finds the step that a piece of work belongs to, or -1. What a base image has its children do comes between FROM and the
// stage's own instructions, and belongs to FROM; inherited counts, by stage, how much of that there was.
func (s *Steps) locate(name string, inherited map[int]int) int {
	stage, index, asked := s.position(name)
	if stage < 0 {
		return -1
	}
	if asked {
		inherited[stage]++
		index = 1
	} else if index > 1 {
		index -= inherited[stage]
	}
	for i, step := range s.List {
		if step.Stage == stage && step.Index == index {
			return i
		}
	}
	return -1
}

// Command gives the command of the failure of a RUN instruction, "/bin/sh -c exit 7".
func Command(failure string) string {
	m := process.FindStringSubmatch(failure)
	if m == nil {
		return ""
	}
	if plain, err := strconv.Unquote(m[1]); err == nil {
		return plain
	}
	return strings.Trim(m[1], `"`)
}

var process = regexp.MustCompile(`process ("(?:[^"\\]|\\.)*") did not complete successfully`)
