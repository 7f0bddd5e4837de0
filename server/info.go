package server

import (
	"net/http"
	"strings"

	st "github.com/moby/moby/api/types/system"
)

func (s *Server) info(c *call) error {
	found, err := s.System.Info(c.Context())
	if err != nil {
		return err
	}
	answer, err := shapeInfo(c.version, found)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// shapeInfo gives the engine's description the shape that version v has for it.
func shapeInfo(v version, found st.Info) (any, error) {
	extra := map[string]any{}
	if v < 1025 {
		found.SecurityOptions = securityNames(found.SecurityOptions)
	}
	if v < 1044 {
		runtimes := make(map[string]st.RuntimeWithStatus, len(found.Runtimes))
		for name, r := range found.Runtimes {
			runtimes[name] = st.RuntimeWithStatus{Runtime: r.Runtime}
		}
		found.Runtimes = runtimes
	}
	if v < 1046 {
		found.Containerd = nil
	}
	if v < 1047 {
		extra["RegistryConfig"] = map[string]any{
			"AllowNondistributableArtifactsCIDRs":     nil,
			"AllowNondistributableArtifactsHostnames": nil,
		}
	}
	if v < 1049 {
		found.FirewallBackend = nil
		extra["ContainerdCommit"] = map[string]any{"Expected": found.ContainerdCommit.ID}
		extra["RuncCommit"] = map[string]any{"Expected": found.RuncCommit.ID}
		extra["InitCommit"] = map[string]any{"Expected": found.InitCommit.ID}
	}
	if v < 1050 {
		found.DiscoveredDevices = nil
		extra["BridgeNfIptables"], extra["BridgeNfIp6tables"] = false, false
	}
	if v < 1053 {
		found.NRI = nil
	}
	return with(found, extra)
}

// securityNames cuts "name=seccomp,profile=builtin" down to "seccomp".
func securityNames(options []string) []string {
	var names []string
	for _, option := range options {
		for field := range strings.SplitSeq(option, ",") {
			if name, ok := strings.CutPrefix(field, "name="); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

func (s *Server) versionInfo(c *call) error {
	found, err := s.System.Version(c.Context())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}
