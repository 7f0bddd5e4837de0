package format

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cove-containers/cove/ref"
	"github.com/moby/moby/api/types/image"
)

const none = "<none>"

// Image is a row of images: one for each name an image has.
type Image struct {
	Containers   string
	CreatedAt    string
	CreatedSince string
	Digest       string
	ID           string
	Repository   string
	SharedSize   string
	Size         string
	Tag          string
	UniqueSize   string
	VirtualSize  string
}

func (Image) row() {}

// ImageTable is the table of images.
func ImageTable(digests bool) Table {
	t := Table{
		Fields: []string{"Repository", "Tag", "ID", "CreatedSince", "Size"},
		Headers: map[string]string{
			"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
			"CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
		},
	}
	digest := ""
	if digests {
		t.Fields = slices.Insert(t.Fields, 2, "Digest")
		digest = "digest: {{.Digest}}\n"
	}
	t.Raw = "repository: {{.Repository}}\n{{if .Tag}}tag: {{.Tag}}\n{{end}}" + digest + "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
	return t
}

// Images makes rows: by digests one for each digest of a repository too.
func Images(list []image.Summary, trunc, digests bool, now time.Time) []Image {
	var rows []Image
	for _, i := range list {
		base := imageRow(i, trunc, now)
		for _, n := range imageNames(i, digests) {
			base.Repository, base.Tag, base.Digest = n.repository, n.tag, n.digest
			rows = append(rows, base)
		}
	}
	return rows
}

func imageRow(i image.Summary, trunc bool, now time.Time) Image {
	row := Image{
		ID: i.ID, Size: Size(i.Size), VirtualSize: LongSize(i.Size), Containers: countOrUnknown(i.Containers), SharedSize: "N/A", UniqueSize: "N/A",
		CreatedAt: time.Unix(i.Created, 0).String(), CreatedSince: Ago(now, time.Unix(i.Created, 0)),
	}
	if trunc {
		row.ID = ShortID(i.ID)
	}
	if i.SharedSize != -1 {
		row.SharedSize = LongSize(i.SharedSize)
		if i.Size != -1 {
			row.UniqueSize = LongSize(i.Size - i.SharedSize)
		}
	}
	return row
}

func countOrUnknown(n int64) string {
	if n == -1 {
		return "N/A"
	}
	return itoa(n)
}

type imageName struct{ repository, tag, digest string }

func imageNames(i image.Summary, digests bool) []imageName {
	tags, sums := byRepository(i.RepoTags, i.RepoDigests)
	var out []imageName
	for _, repository := range slices.Sorted(maps.Keys(tags)) {
		known := sums[repository]
		delete(sums, repository)
		if !digests || len(known) == 0 {
			known = []string{none}
		}
		for _, tag := range tags[repository] {
			for _, sum := range known {
				out = append(out, imageName{repository, tag, sum})
			}
		}
	}
	for _, repository := range slices.Sorted(maps.Keys(sums)) {
		if !digests {
			out = append(out, imageName{repository, none, ""})
			continue
		}
		for _, sum := range sums[repository] {
			out = append(out, imageName{repository, none, sum})
		}
	}
	if len(out) == 0 {
		out = append(out, imageName{none, none, none})
	}
	return out
}

func byRepository(repoTags, repoDigests []string) (tags, sums map[string][]string) {
	tags, sums = map[string][]string{}, map[string][]string{}
	for _, t := range repoTags {
		if n, err := ref.Parse(t); err == nil && n.Tag != "" {
			tags[n.FamiliarRepository()] = append(tags[n.FamiliarRepository()], n.Tag)
		}
	}
	for _, d := range repoDigests {
		if n, err := ref.Parse(d); err == nil && n.Digest != "" {
			sums[n.FamiliarRepository()] = append(sums[n.FamiliarRepository()], n.Digest.String())
		}
	}
	return tags, sums
}

// History is a row of history.
type History struct {
	Comment      string
	CreatedAt    string
	CreatedBy    string
	CreatedSince string
	ID           string
	Size         string
}

func (History) row() {}

// HistoryTable is the table of history.
func HistoryTable(human bool) Table {
	t := Table{
		Fields: []string{"ID", "CreatedSince", "CreatedBy", "Size", "Comment"},
		Headers: map[string]string{
			"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
		},
	}
	if !human {
		t.Fields[1] = "CreatedAt"
	}
	return t
}

// HistoryRows makes rows; human gives ages and sizes in words.
func HistoryRows(list []image.HistoryResponseItem, trunc, human bool, now time.Time) []History {
	y2k := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	rows := make([]History, 0, len(list))
	for _, h := range list {
		created := time.Unix(h.Created, 0)
		row := History{ID: h.ID, Comment: h.Comment, CreatedAt: created.Format(time.RFC3339), CreatedBy: strings.ReplaceAll(h.CreatedBy, "\t", " ")}
		row.CreatedSince, row.Size = row.CreatedAt, itoa(h.Size)
		if human {
			row.Size, row.CreatedSince = Size(h.Size), "N/A"
			if h.Created > y2k {
				row.CreatedSince = Ago(now, created)
			}
		}
		if trunc {
			row.ID, row.CreatedBy = ShortID(h.ID), Ellipsis(row.CreatedBy, 45)
		}
		rows = append(rows, row)
	}
	return rows
}
