// Package test holds the end-to-end tests: scripts that read like a terminal, run against a real engine of their own with
// real images, once with the cove command line and once with the stock docker client; and tests in Go where a
// script cannot say what is meant. It needs root; see docs/testing.md.
package test
