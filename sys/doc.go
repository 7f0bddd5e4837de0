// Package sys is Linux by name: system calls with safe signatures and probes for features, one function or a small family
// a file. It decides nothing; whoever calls it says what is meant.
package sys
