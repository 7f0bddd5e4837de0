package format

import (
	"time"

	"github.com/cove-containers/cove/api"
)

// Snapshot is a row of snapshot ls.
type Snapshot struct {
	Comment      string
	CreatedAt    string
	CreatedSince string
	ID           string
	Name         string
	Size         string
}

func (Snapshot) row() {}

// SnapshotTable is the table of snapshot ls.
func SnapshotTable() Table {
	return Table{
		Fields: []string{"ID", "Name", "CreatedSince", "Size", "Comment"},
		Headers: map[string]string{
			"ID": "SNAPSHOT ID", "Name": "NAME", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE", "Comment": "COMMENT",
		},
	}
}

// Snapshots makes rows.
func Snapshots(list []api.Snapshot, trunc bool, now time.Time) []Snapshot {
	rows := make([]Snapshot, 0, len(list))
	for _, s := range list {
		row := Snapshot{
			ID: s.ID, Name: s.Name, Comment: s.Comment, Size: Size(s.Size),
			CreatedAt: s.Created.Format(time.RFC3339), CreatedSince: Ago(now, s.Created),
		}
		if trunc {
			row.ID, row.Comment = ShortID(s.ID), Ellipsis(s.Comment, 45)
		}
		rows = append(rows, row)
	}
	return rows
}
