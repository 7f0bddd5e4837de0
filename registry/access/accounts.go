package access

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/bcrypt"
)

// hashLength is that of every bcrypt hash.
const hashLength = 60

// maxRemembered bounds how many right passwords, and how many tokens, are remembered.
const maxRemembered = 4096

// accounts are the users of an htpasswd file.
//
// bcrypt takes tens of milliseconds, by design, and clients send the password with each of an image's many requests. So
// a password that was right is remembered: as a MAC with a key that only this process has ever known, over the hash it
// was right for too, so that a changed file is not fooled.
type accounts struct {
	file   *watched[users]
	secret []byte
	slots  chan struct{} // how many passwords are tried at once: sign-ins must not starve everything else
	decoy  []byte        // tried for users that do not exist, so that the time taken does not tell

	mu    sync.Mutex
	right map[[sha256.Size]byte]bool
}

func openAccounts(path string, log *slog.Logger) (*accounts, error) {
	file, err := watch(path, parseAccounts, log)
	if err != nil {
		return nil, err
	}
	a := &accounts{file: file, secret: make([]byte, 32), slots: make(chan struct{}, max(1, runtime.NumCPU()/2)), right: map[[sha256.Size]byte]bool{}}
	rand.Read(a.secret)
	if a.decoy, err = bcrypt.GenerateFromPassword([]byte(rand.Text()), decoyCost(file.value)); err != nil {
		return nil, fmt.Errorf("prepare accounts: %w", err)
	}
	return a, nil
}

// parseAccounts reads the lines USER:HASH of an htpasswd file. Only bcrypt is taken: the other schemes of Apache's tool
// can be tried out by the billion.
func parseAccounts(text []byte) (users, error) {
	out := users{}
	for n, line := range bytes.Split(text, []byte("\n")) {
		entry := strings.TrimSpace(string(line))
		if entry == "" || strings.HasPrefix(entry, "#") {
			continue
		}
		user, hash, ok := strings.Cut(entry, ":")
		switch {
		case !ok || user == "":
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("line %d: want USER:HASH", n+1))
		case user == nobody || user == "*":
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("line %d: no account may be called %q", n+1, user))
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil || len(hash) != hashLength {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("line %d: the password of %q is not kept with bcrypt (make it with htpasswd -B)", n+1, user))
		}
		out[user] = []byte(hash)
	}
	return out, nil
}

// users are the hashes of passwords by name.
type users = map[string][]byte

// check tells whether password is user's, and what stands for it; when it is not, the error is errdefs.ErrUnauthenticated.
func (a *accounts) check(ctx context.Context, user, password string) (state string, err error) {
	hash, known := a.file.get()[user]
	if !known {
		hash = a.decoy
	}
	proof := a.proof(user, hash, password)
	a.mu.Lock()
	right := a.right[proof]
	a.mu.Unlock()
	if right && known {
		return stateOf(user, hash), nil
	}
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("check password: %w", context.Cause(ctx))
	}
	err = bcrypt.CompareHashAndPassword(hash, []byte(password))
	<-a.slots
	if err != nil || !known {
		return "", errdefs.ErrUnauthenticated.WithMessage("incorrect username or password")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.right) >= maxRemembered {
		clear(a.right)
	}
	a.right[proof] = true
	return stateOf(user, hash), nil
}

// state is a short text that changes when a user's password does; "" when there is no such user.
func (a *accounts) state(user string) string {
	if hash, ok := a.file.get()[user]; ok {
		return stateOf(user, hash)
	}
	return ""
}

func stateOf(user string, hash []byte) string {
	sum := sha256.Sum256(append([]byte(user+"\x00"), hash...))
	return encode(sum[:12])
}

func (a *accounts) proof(user string, hash []byte, password string) (out [sha256.Size]byte) {
	mac := hmac.New(sha256.New, a.secret)
	fmt.Fprintf(mac, "%d %d %s%s%s", len(user), len(hash), user, hash, password)
	mac.Sum(out[:0])
	return out
}

// decoyCost is the cost that trying an unknown user's password must have to look like that of a known one.
func decoyCost(all users) int {
	cost := bcrypt.MinCost
	for _, hash := range all {
		if c, err := bcrypt.Cost(hash); err == nil {
			cost = max(cost, c)
		}
	}
	return min(cost, 14)
}
