package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell completion script",
		UsageText: "d2nwg completion bash|zsh|fish",
		Description: describe("Prints the script that teaches a shell the commands and flags of d2nwg.",
			"source <(d2nwg completion bash)", "bash, for this session; put the line in ~/.bashrc to keep it",
			"source <(d2nwg completion zsh)", "zsh, likewise after compinit in ~/.zshrc",
			"d2nwg completion fish > ~/.config/fish/completions/d2nwg.fish", "fish"),
		Action: action(runCompletion),
	}
}

func runCompletion(_ context.Context, s *session) error {
	args, err := s.args("bash|zsh|fish")
	if err != nil {
		return err
	}
	script, ok := completionScripts[args[0]]
	if !ok {
		names := []string{}
		for name := range completionScripts {
			names = append(names, name)
		}
		slices.Sort(names)
		return usagef("no completion for the shell %q, only for %s", args[0], strings.Join(names, ", "))
	}
	_, err = io.WriteString(s.UI.Out, script)
	return err
}

// completionScripts ask the program itself for candidates, so they never fall behind its commands.
var completionScripts = map[string]string{
	"bash": `# bash completion for d2nwg
_d2nwg() {
  local cur="${COMP_WORDS[COMP_CWORD]}" out
  out=$("${COMP_WORDS[0]}" ` + completeWord + ` "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)
  COMPREPLY=()
  if [ -n "$out" ]; then
    while IFS= read -r word; do COMPREPLY+=("$word"); done <<< "$out"
  else
    while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _d2nwg d2nwg
`,
	"zsh": `#compdef d2nwg
_d2nwg() {
  local -a candidates
  local word text
  while IFS=$'\t' read -r word text; do
    candidates+=("${word//:/\\:}:$text")
  done < <("${words[1]}" ` + completeWord + ` "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#candidates} )); then
    _describe d2nwg candidates
  else
    _files
  fi
}
compdef _d2nwg d2nwg
`,
	"fish": `# fish completion for d2nwg
function __d2nwg_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l out ($words[1] ` + completeWord + ` $words[2..-1] 2>/dev/null)
    if test (count $out) -gt 0
        printf '%s\n' $out
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c d2nwg -f -a '(__d2nwg_complete)'
`,
}
