package format

import (
	"encoding/json"
	"strings"

	"github.com/moby/moby/api/types/registry"
)

// Search is a row of search.
type Search struct {
	Description string
	IsOfficial  string
	Name        string
	StarCount   string
}

func (Search) row() {}

// MarshalJSON says in words what the table marks.
func (s Search) MarshalJSON() ([]byte, error) {
	type plain Search
	p := plain(s)
	if p.IsOfficial = "false"; s.IsOfficial != "" {
		p.IsOfficial = "true"
	}
	return json.Marshal(p)
}

// SearchTable is the table of search.
func SearchTable() Table {
	return Table{
		Fields:  []string{"Name", "Description", "StarCount", "IsOfficial"},
		Headers: map[string]string{"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"},
	}
}

// Searches makes rows, in the registry's order.
func Searches(list []registry.SearchResult, trunc bool) []Search {
	lines := strings.NewReplacer("\n", " ", "\r", " ")
	rows := make([]Search, 0, len(list))
	for _, r := range list {
		row := Search{Name: r.Name, Description: lines.Replace(r.Description), StarCount: itoa(int64(r.StarCount))}
		if trunc {
			row.Description = Ellipsis(row.Description, 45)
		}
		if r.IsOfficial {
			row.IsOfficial = "[OK]"
		}
		rows = append(rows, row)
	}
	return rows
}
