package engine

import (
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/engine/view"
	"github.com/cove-containers/cove/runtime"
)

const (
	// connectTime is how long a start waits for clients that said they would attach before the program is loaded.
	connectTime = 5 * time.Second
	// deliverTime is how long the news of an end waits for clients that are still being sent the output before it.
	deliverTime = 2 * time.Second
)

// run is one run of a container while this daemon watches: from the first client that attaches, or the launch of
// its supervisor, until its end has been recorded.
type run struct {
	id string
	// sup and process are set before launched is closed.
	sup     supervisor
	process *specs.Process
	// launched is closed when clients can attach, over when the run has ended or will not come.
	launched, over chan struct{}
	// cleaned is closed when the supervisor is gone and its folder is free for another.
	cleaned chan struct{}
	// pause is how long the restart policy waited before this run.
	pause time.Duration

	// connecting are the clients that will attach once there is a supervisor: the program is not loaded before they have.
	// attached are those that are sent its output.
	connecting, attached view.Crowd

	// starved tells that it has been said of this run that memory was short; the container's lock guards it.
	starved bool

	mu         sync.Mutex
	stopHealth func()
}

// lost is what a command that could not be started in a container failed of: that its container was just ending, if it was.
func (r *run) lost(id string, err error) error {
	var program *runtime.StartError
	if errors.As(err, &program) {
		return err
	}
	select {
	case <-r.over:
		return notRunning(id)
	case <-time.After(closeTime):
		return err
	}
}

// runs are the runs by container.
type runs struct {
	mu   sync.Mutex
	byID map[string]*run
	// before are the runs whose supervisors are being removed.
	before map[string]*run
	// waiting are the ended runs whose containers a policy will start again.
	waiting map[string]*run
	// late are the containers whose supervisors did not answer at the daemon's start; the channels close when they do.
	late map[string]chan struct{}
}

func newRuns() *runs {
	return &runs{byID: map[string]*run{}, before: map[string]*run{}, waiting: map[string]*run{}, late: map[string]chan struct{}{}}
}

// expectLate notes a container whose supervisor is still to be reached.
func (rs *runs) expectLate(id string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.late[id] = make(chan struct{})
}

// isLate tells whether the container's supervisor did not answer at the daemon's start.
func (rs *runs) isLate(id string) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.late[id] != nil
}

// of returns the run of a container, the one to come if it does not run.
func (rs *runs) of(id string) *run {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.byID[id]
	if r == nil {
		r = &run{id: id, launched: make(chan struct{}), over: make(chan struct{}), cleaned: make(chan struct{})}
		rs.byID[id] = r
	}
	return r
}

// live returns the run of a container that has a supervisor, or nil. A supervisor that is late gets some time.
func (rs *runs) live(id string) *run {
	rs.mu.Lock()
	reached := rs.late[id]
	rs.mu.Unlock()
	if reached != nil {
		select {
		case <-reached:
		case <-time.After(answerTime):
		}
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.byID[id]
	if r == nil {
		return nil
	}
	select {
	case <-r.launched:
		return r
	default:
		return nil
	}
}

// followed tells whether this daemon watches a run of the container, or will start it again. It is certain only while
// the container is held.
func (rs *runs) followed(id string) bool {
	if rs.live(id) != nil {
		return true
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.waiting[id] != nil
}

// end takes r out: who waits for its start or its end is told. clean is then run by the caller and closes r.cleaned
// through cleanedUp. It tells whether r was still there to be taken out.
func (rs *runs) end(r *run) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byID[r.id] != r {
		return false
	}
	delete(rs.byID, r.id)
	rs.before[r.id] = r
	close(r.over)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopHealth != nil {
		r.stopHealth()
	}
	return true
}

func (rs *runs) cleanedUp(r *run) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.before[r.id] == r {
		delete(rs.before, r.id)
	}
	close(r.cleaned)
}

// settle waits until the supervisor of an earlier run of the container is gone.
func (rs *runs) settle(id string) {
	rs.mu.Lock()
	r := rs.before[id]
	rs.mu.Unlock()
	if r != nil {
		<-r.cleaned
	}
}

// forget ends a run that did not come about, and the wait of its clients. Several may do so at once.
func (rs *runs) forget(r *run) {
	if rs.end(r) {
		rs.cleanedUp(r)
	}
}

// forgetWaiting ends the wait of clients for a start that will not come.
func (rs *runs) forgetWaiting(id string) {
	rs.mu.Lock()
	r := rs.byID[id]
	rs.mu.Unlock()
	if r != nil {
		rs.forget(r)
	}
}

// again notes that the policy will start the container of r once more; the last call counts.
func (rs *runs) again(r *run) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.waiting[r.id] = r
}

// due tells whether it is still r's turn to be followed by another run, and takes it off the list.
func (rs *runs) due(r *run) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.waiting[r.id] != r {
		return false
	}
	delete(rs.waiting, r.id)
	return true
}

// launch lets the announced clients attach and waits until all have.
func (r *run) launch(sup supervisor, process *specs.Process) {
	r.sup, r.process = sup, process
	close(r.launched)
	r.connecting.Wait(connectTime)
}
