# Completion of rfaas for bash. In ~/.bashrc: source <(rfaas completion bash)
# Which words there are, rfaas itself says: first how to treat them, then one a line.

_rfaas() {
  local program=${COMP_WORDS[0]/#\~\//$HOME/} how='' word
  COMPREPLY=()
  {
    IFS= read -r how
    while IFS= read -r word; do COMPREPLY+=("$word"); done
  } < <("$program" __complete bash -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null </dev/null)
  [[ $how == *files* ]] && compopt -o default 2>/dev/null
  [[ $how == *folders* ]] && compopt -o dirnames 2>/dev/null
  [[ $how == *open* ]] && compopt -o nospace 2>/dev/null
  return 0
}

complete -F _rfaas rfaas
