// Package cgroup creates, limits, measures and removes control groups.
package cgroup
