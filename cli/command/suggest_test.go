package command

import "testing"

func TestMeant(t *testing.T) {
	known := []string{"ps", "pull", "push", "run", "rm", "rmi", "container", "--name"}
	for word, want := range map[string]string{
		"psuh":      "Did you mean push?\n\n",
		"contianer": "Did you mean container?\n\n",
		"cont":      "Did you mean container?\n\n",
		"pusl":      "Did you mean one of these?\n  pull\n  push\n\n",
		"--nmae":    "Did you mean --name?\n\n",
		"x":         "",
		"compose":   "",
		"":          "",
	} {
		if got := meant(word, known); got != want {
			t.Errorf("%s: %q", word, got)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"push", "psuh", 1}, {"pull", "push", 2}, {"käse", "kase", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s %s: %d", c.a, c.b, got)
		}
	}
}
