package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// meant is what is said of a word that is nearly one of those known, empty when none is near.
func meant(word string, known []string) string {
	type near struct {
		name     string
		distance int
	}
	var all []near
	slips := min(2, (len(strings.TrimLeft(word, "-"))+1)/3)
	for _, name := range known {
		if d := distance(word, name); d <= slips || len(word) > 1 && strings.HasPrefix(name, word) {
			all = append(all, near{name, d})
		}
	}
	slices.SortStableFunc(all, func(x, y near) int { return x.distance - y.distance })
	switch {
	case len(all) == 0:
		return ""
	case len(all) == 1 || all[0].distance < all[1].distance:
		return "Did you mean " + all[0].name + "?\n\n"
	}
	text := "Did you mean one of these?\n"
	for _, n := range all[:min(4, len(all))] {
		text += "  " + n.name + "\n"
	}
	return text + "\n"
}

// meantCommand is meant for the commands below cmd that its help shows.
func meantCommand(cmd *cobra.Command, word string) string {
	var known []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			known = append(known, child.Name())
		}
	}
	return meant(word, known)
}

// meantFlag is meant for a flag of cmd, when err is that there is no such one.
func meantFlag(cmd *cobra.Command, err error) string {
	var none *pflag.NotExistError
	if !errors.As(err, &none) || none.GetSpecifiedShortnames() != "" {
		return ""
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, "--"+f.Name)
		}
	})
	return meant("--"+none.GetSpecifiedName(), known)
}

// distance counts the letters to insert, to drop, to change or to swap with their neighbours that make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			change := last[j]
			if x[i] != y[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}
