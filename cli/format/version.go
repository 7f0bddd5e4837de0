package format

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/moby/moby/api/types/system"
)

// ClientVersion describes this program, in the form templates of docker's version command expect.
type ClientVersion struct {
	Version           string `json:"Version,omitempty"`
	APIVersion        string `json:"ApiVersion,omitempty"`
	DefaultAPIVersion string `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string `json:"GitCommit,omitempty"`
	GoVersion         string `json:"GoVersion,omitempty"`
	Os                string `json:"Os,omitempty"`
	Arch              string `json:"Arch,omitempty"`
	BuildTime         string `json:"BuildTime,omitempty"`
	Context           string `json:"Context"`
}

// Versions are client and daemon, which is nil when it could not be asked.
type Versions struct {
	Client ClientVersion
	Server *system.VersionResponse
}

// Print spells both out.
func (v Versions) Print(out io.Writer) {
	w := tabwriter.NewWriter(out, 20, 1, 1, ' ', 0)
	defer w.Flush()
	c := v.Client
	shown := c.APIVersion
	if c.APIVersion != c.DefaultAPIVersion {
		shown += " (downgraded from " + c.DefaultAPIVersion + ")"
	}
	fmt.Fprintf(w, "Client:\n Version:\t%s\n API version:\t%s\n Go version:\t%s\n Git commit:\t%s\n Built:\t%s\n OS/Arch:\t%s/%s\n Context:\t%s\n",
		c.Version, shown, c.GoVersion, c.GitCommit, c.BuildTime, c.Os, c.Arch, c.Context)
	if v.Server == nil {
		return
	}
	fmt.Fprint(w, "\nServer:")
	if name := v.Server.Platform.Name; name != "" {
		fmt.Fprint(w, " "+name)
	}
	fmt.Fprintln(w)
	for _, part := range v.Server.Components {
		fmt.Fprintf(w, " %s:\n  Version:\t%s\n", part.Name, part.Version)
		d := part.Details
		if part.Name != "Engine" {
			for _, key := range slices.Sorted(maps.Keys(d)) {
				fmt.Fprintf(w, "  %s:\t%s\n", key, d[key])
			}
			continue
		}
		fmt.Fprintf(w, "  API version:\t%s (minimum version %s)\n  Go version:\t%s\n  Git commit:\t%s\n  Built:\t%s\n  OS/Arch:\t%s/%s\n  Experimental:\t%s\n",
			d["ApiVersion"], d["MinAPIVersion"], d["GoVersion"], d["GitCommit"], longDate(d["BuildTime"]), d["Os"], d["Arch"], d["Experimental"])
	}
}

// longDate spells a time out, when it is one.
func longDate(s string) string {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.Format(time.ANSIC)
	}
	return s
}
