package logs

// ValidateOptions checks a driver's name and options with dockerd's words. The kind is errdefs.ErrInvalidArgument.
func ValidateOptions(driver string, options map[string]string) error { return nil }

// Subject names the container a log belongs to, for the options labels, env and tag.
type Subject struct {
	ID, Name, ImageID, ImageName, DaemonName string
	Labels                                   map[string]string
	Env                                      []string
}

// Details computes Config.Attrs from the options labels, labels-regex, env, env-regex and tag. match is
// regexp.MatchString, given by the caller so that the supervisor needs no regular expressions.
func Details(options map[string]string, s Subject, match func(pattern, text string) (bool, error)) (map[string]string, error) {
	return nil, nil
}
