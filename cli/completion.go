package cli

import (
	"fmt"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// bareBash stands in for the two functions of the package bash-completion that the script for bash calls, where that is not installed: words are
// what blanks part, and of what is offered only goes in what stands behind the last colon.
const bareBash = `
if ! declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
    __NAME_init_completion() {
        COMPREPLY=()
        read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
        [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
        cword=$((${#words[@]} - 1))
        cur=${words[cword]}
        prev=${words[cword - 1]}
    }
    __ltrim_colon_completions() {
        [[ $1 == *:* && $COMP_WORDBREAKS == *:* ]] || return 0
        local before=${1%"${1##*:}"} i
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$before"}; done
    }
fi
`

// completeBare has the script for bash work without the package bash-completion.
func completeBare(root *cobra.Command) {
	cmd, _, err := root.Find([]string{"completion", "bash"})
	if err != nil || cmd.RunE == nil {
		return
	}
	write := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := write(cmd, args); err != nil {
			return err
		}
		_, err := fmt.Fprint(cmd.OutOrStdout(), strings.ReplaceAll(bareBash, "NAME", command.Name))
		return err
	}
}
