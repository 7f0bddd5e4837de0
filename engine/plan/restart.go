package plan

import (
	"time"

	ct "github.com/moby/moby/api/types/container"
)

const (
	firstPause = 100 * time.Millisecond
	longPause  = time.Minute
	// steady is how long a container must have run for its next pause to be the first one again.
	steady = 10 * time.Second
)

// Again tells whether policy starts a container once more after it ended by itself with code, having been
// restarted count times already.
func Again(policy ct.RestartPolicy, code, count int) bool {
	switch policy.Name {
	case ct.RestartPolicyAlways, ct.RestartPolicyUnlessStopped:
		return true
	case ct.RestartPolicyOnFailure:
		return code != 0 && (policy.MaximumRetryCount == 0 || count < policy.MaximumRetryCount)
	}
	return false
}

// AtBoot tells whether a container that does not run is started when the engine starts: "always" does even if
// it was stopped by hand, and nothing does for a container that never ran.
func AtBoot(policy ct.RestartPolicy, started, stoppedByHand bool, code, count int) bool {
	switch {
	case !started:
		return false
	case policy.Name == ct.RestartPolicyAlways:
		return true
	case stoppedByHand:
		return false
	}
	return Again(policy, code, count)
}

// Pause is how long to wait before the next start: 100 ms at first, doubled each time up to a minute, and 100 ms
// anew after the container ran for ten seconds. last is the pause before this run, 0 for none.
func Pause(last, ran time.Duration) time.Duration {
	if last == 0 || ran >= steady {
		return firstPause
	}
	return min(2*last, longPause)
}
