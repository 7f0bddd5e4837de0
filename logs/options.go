package logs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Logs are bounded unless the user lifts the bound with max-size=-1.
const (
	defaultSize  = 20_000_000
	defaultFiles = 5
)

// optionNames of both drivers that keep files.
var optionNames = []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"}

// ValidateOptions checks a driver's name and the names of its options with dockerd's words; values are read when the log
// is opened. The kind is errdefs.ErrInvalidArgument.
func ValidateOptions(driver string, options map[string]string) error {
	if driver == None {
		return nil
	}
	if err := validateMode(options); err != nil {
		return err
	}
	known, words := optionNames, "unknown log opt '%s' for json-file log driver"
	switch driver {
	case JSONFile, "":
	case Local:
		words = "unknown log opt '%s' for log driver local"
	default:
		own, remote := remoteOptions[driver]
		if !remote {
			return invalid("logger: no log driver named '%s' is registered", driver)
		}
		known, words = slices.Concat(optionNames[3:], cacheOptions, own), "unknown log opt '%s' for "+driver+" log driver"
	}
	for name := range options {
		if name != "mode" && name != "max-buffer-size" && !slices.Contains(known, name) {
			return invalid(words, name)
		}
	}
	return nil
}

// cacheOptions say how the log that is kept here of what goes elsewhere is bounded.
var cacheOptions = []string{"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}

// remoteOptions are those of each driver whose logs go elsewhere, beside cacheOptions and what every driver has.
var remoteOptions = map[string][]string{
	Syslog: {
		"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key",
		"syslog-tls-skip-verify",
	},
	Journald: nil,
	GELF: {
		"gelf-address", "gelf-compression-type", "gelf-compression-level", "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay",
	},
	Fluentd: {
		"fluentd-address", "fluentd-async", "fluentd-async-connect", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
		"fluentd-max-retries", "fluentd-retry-wait", "fluentd-request-ack", "fluentd-sub-second-precision",
		"fluentd-read-timeout", "fluentd-write-timeout",
	},
}

// Remote tells whether the lines of a driver go elsewhere.
func Remote(driver string) bool {
	_, remote := remoteOptions[driver]
	return remote
}

// Kept is how the log of a driver is kept here: lines that go elsewhere wait in a log of local, bounded by the options
// whose names begin with cache-.
func Kept(driver string, options map[string]string) (string, map[string]string) {
	if !Remote(driver) {
		return driver, options
	}
	kept := map[string]string{}
	for _, name := range []string{"max-size", "max-file", "compress"} {
		if value, ok := options["cache-"+name]; ok {
			kept[name] = value
		}
	}
	return Local, kept
}

// validateMode checks the two options that belong to every driver. Both modes are the same here: a log file never makes
// its container wait.
func validateMode(options map[string]string) error {
	mode := options["mode"]
	if mode != "" && mode != "blocking" && mode != "non-blocking" {
		return invalid("logger: logging mode not supported: %s", mode)
	}
	if text, ok := options["cache-disabled"]; ok {
		if _, err := strconv.ParseBool(text); err != nil {
			return invalid("cache-disabled: %s", err)
		}
	}
	size, ok := options["max-buffer-size"]
	if !ok {
		return nil
	}
	if mode != "non-blocking" {
		return invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if _, err := parseSize(size); err != nil {
		return invalid("error parsing option max-buffer-size: %s", err)
	}
	return nil
}

// settings are options with their values read.
type settings struct {
	size     int64 // of one file; negative: unbounded
	files    int
	compress bool
}

func parseSettings(driver string, options map[string]string) (settings, error) {
	s := settings{size: defaultSize, files: defaultFiles, compress: driver == Local}
	var err error
	size, sized := options["max-size"]
	if sized {
		if s, err = sizeSetting(s, driver, size); err != nil {
			return s, err
		}
	}
	if text, ok := options["max-file"]; ok {
		if s.files, err = strconv.Atoi(text); err != nil {
			return s, invalid("%s", err)
		}
		if s.files < 1 {
			return s, invalid("max-file cannot be less than 1")
		}
	}
	bounded := s.files > 1 && s.size > 0
	if text, ok := options["compress"]; ok {
		if s.compress, err = strconv.ParseBool(text); err != nil {
			return s, invalid("%s", err)
		}
		if s.compress && !bounded {
			return s, invalid("compress cannot be true when max-file is less than 2 or max-size is not set")
		}
	}
	s.compress = s.compress && bounded
	return s, nil
}

// sizeSetting reads max-size. As in dockerd, a json-file log with a size of its own has one file unless told otherwise.
func sizeSetting(s settings, driver, text string) (settings, error) {
	size, err := parseSize(text)
	if err != nil {
		return s, invalid("%s", err)
	}
	if size <= 0 && text != "-1" {
		return s, invalid("max-size must be a positive number")
	}
	s.size = size
	if driver != Local {
		s.files = 1
	}
	return s, nil
}

// parseSize reads sizes like 10m, 1.5gb or 512: decimal units, as docker's log options have them.
func parseSize(text string) (int64, error) {
	number := strings.ToLower(strings.TrimSpace(text))
	unit := 1.0
	number = strings.TrimSuffix(number, "b")
	number = strings.TrimSuffix(number, "i")
	if number != "" {
		if power := strings.IndexByte("kmgtp", number[len(number)-1]); power >= 0 {
			for range power + 1 {
				unit *= 1000
			}
			number = strings.TrimSpace(number[:len(number)-1])
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value != value || value*unit > 1<<62 || value*unit < -1<<62 {
		return 0, fmt.Errorf("invalid size: '%s'", text)
	}
	return int64(value * unit), nil
}

// invalid makes an error whose text is exactly what dockerd would say.
func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
