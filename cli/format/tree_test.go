package format

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func part(arch string, content, total int64, available bool, users ...string) image.ManifestSummary {
	m := image.ManifestSummary{ID: "sha256:" + strings.Repeat(arch[:1], 64), Kind: image.ManifestKindImage, Available: available}
	m.Size.Content, m.Size.Total = content, total
	m.ImageData = &image.ImageProperties{Platform: ocispec.Platform{OS: "linux", Architecture: arch}, Containers: users}
	return m
}

func treeOf(t *testing.T, tree Tree, list []image.Summary) string {
	t.Helper()
	var b strings.Builder
	if err := tree.Images(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTree(t *testing.T) {
	attestation := image.ManifestSummary{Kind: image.ManifestKindAttestation}
	attestation.Size.Content = 1000
	list := []image.Summary{
		{ID: "sha256:" + strings.Repeat("0", 64), Size: 5},
		{ID: "sha256:" + strings.Repeat("1", 64), Size: 12_345_678, RepoTags: []string{"zoo:2", "app:1"}, Manifests: []image.ManifestSummary{
			part("amd64", 4_000_000, 12_000_000, true, "c"), part("s390x", 0, 0, false), attestation,
		}},
		{ID: "sha256:" + strings.Repeat("2", 64), Size: 70, RepoTags: []string{"a-name-so-long-that-no-column-holds-it.example.com/x:1"}},
	}
	want := `IMAGE                                                    ID             DISK USAGE   CONTENT SIZE   EXTRA
a-name-so-long-that-no-column-holds-it.example.com/x:1   222222222222          70B             0B

app:1
zoo:2                                                    111111111111       12.3MB            4MB   U
├─ linux/amd64                                           aaaaaaaaaaaa         12MB            4MB   U
└─ linux/s390x                                           ssssssssssss           0B             0B

<untagged>                                               000000000000           5B             0B

`
	var got []string
	for line := range strings.SplitSeq(treeOf(t, Tree{}, list), "\n") {
		got = append(got, strings.TrimRight(line, " "))
	}
	if got := strings.Join(got, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	colored := treeOf(t, Tree{Width: 100, Color: true}, list)
	for _, part := range []string{"\x1b[34m\x1b[1mapp:1\x1b[0m", "\x1b[39m\x1b[2m└─ linux/s390x\x1b[0m", treeChip, treeInfo} {
		if !strings.Contains(colored, part) {
			t.Errorf("%q is not in\n%s", part, colored)
		}
	}
	a, b := strings.Fields(uncolored(colored)), strings.Fields(treeOf(t, Tree{Width: 100}, list))
	if a, b := strings.Join(a[6:], " "), strings.Join(b[5:], " "); a != b {
		t.Errorf("colors change the text:\n%q\n%q", a, b)
	}
}

// uncolored takes out what a terminal does not show.
func uncolored(s string) string {
	for {
		before, rest, found := strings.Cut(s, "\x1b[")
		if !found {
			return s
		}
		_, after, _ := strings.Cut(rest, "m")
		s = before + after
	}
}
