// Package repository keeps what a registry has: blobs, and repositories with the manifests and tags that lead to them.
// Everything lies in a Storage, so any number of processes may work on one at the same time without a word to one another.
package repository
