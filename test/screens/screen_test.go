package main

import "testing"

func TestScreen(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb":                          "a\nb\n",
		"one\r\ntwo\r\n\x1b[2A\x1b[2K\rX": "X\ntwo\n",
		"abc\x1b[2DX":                     "aXc\n",
		"abcdef\r\x1b[3Cx\x1b[K":          "abcx\n",
		"\x1b[31mred\x1b[0m plain":        "red plain\n",
		"1\r\n2\r\n3\r\n4\r\n5":           "3\n4\n5\n",
		"0123456789ab":                    "0123456789\nab\n",
		"\x1b[2J\x1b[Hhere":               "here\n",
		"語x":                              "語x\n",
	} {
		s := newScreen(10, 3)
		for i := range len(in) { // in pieces, as they come
			s.Write([]byte(in[i : i+1]))
		}
		if got := s.String(); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
