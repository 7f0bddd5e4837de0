package format

import (
	"strings"

	"github.com/moby/moby/api/types/plugin"
)

// Plugin is a row of plugins.
type Plugin struct {
	Description     string
	Enabled         bool
	ID              string
	Name            string
	PluginReference string
}

func (Plugin) row() {}

// PluginTable is the table of plugins.
func PluginTable() Table {
	return Table{
		Fields:  []string{"ID", "Name", "Description", "Enabled"},
		Headers: map[string]string{"ID": "ID", "Name": "NAME", "Description": "DESCRIPTION", "Enabled": "ENABLED", "PluginReference": "IMAGE"},
		Raw:     "plugin_id: {{.ID}}\nname: {{.Name}}\ndescription: {{.Description}}\nenabled: {{.Enabled}}\n",
	}
}

// Plugins makes rows.
func Plugins(list []plugin.Plugin, trunc bool) []Plugin {
	lines := strings.NewReplacer("\n", "", "\r", "")
	rows := make([]Plugin, 0, len(list))
	for _, p := range list {
		row := Plugin{ID: p.ID, Name: p.Name, Description: lines.Replace(p.Config.Description), Enabled: p.Enabled, PluginReference: p.PluginReference}
		if trunc {
			row.ID, row.Description = ShortID(row.ID), Ellipsis(row.Description, 45)
		}
		rows = append(rows, row)
	}
	return rows
}
