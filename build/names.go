package build

import (
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// operationName is what a step without a name of its own is called on the client's screen.
func operationName(op *pb.Op, below []*vertex) string {
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		return o.Source.GetIdentifier()
	case *pb.Op_Exec:
		return strings.Join(o.Exec.GetMeta().GetArgs(), " ")
	case *pb.Op_File:
		return fileName(o.File.GetActions())
	case *pb.Op_Build:
		return "build"
	case *pb.Op_Merge:
		var names []string
		for _, v := range below {
			names = append(names, v.Name)
		}
		return "merge (" + strings.Join(names, ", ") + ")"
	case *pb.Op_Diff:
		return "diff " + side(o.Diff.GetLower().GetInput(), below) + " -> " + side(o.Diff.GetUpper().GetInput(), below)
	}
	return "unknown"
}

// side names one side of a difference.
func side(input int64, below []*vertex) string {
	if input < 0 || int(input) >= len(below) {
		return "scratch"
	}
	return "(" + below[input].Name + ")"
}

func fileName(actions []*pb.FileAction) string {
	var names []string
	for _, action := range actions {
		switch a := action.GetAction().(type) {
		case *pb.FileAction_Mkdir:
			names = append(names, "mkdir "+a.Mkdir.GetPath())
		case *pb.FileAction_Mkfile:
			names = append(names, "mkfile "+a.Mkfile.GetPath())
		case *pb.FileAction_Symlink:
			names = append(names, "symlink "+a.Symlink.GetNewpath()+" -> "+a.Symlink.GetOldpath())
		case *pb.FileAction_Rm:
			names = append(names, "rm "+a.Rm.GetPath())
		case *pb.FileAction_Copy:
			names = append(names, "copy "+a.Copy.GetSrc()+" "+a.Copy.GetDest())
		}
	}
	return strings.Join(names, ", ")
}
