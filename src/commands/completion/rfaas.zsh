#compdef rfaas
# Completion of rfaas for zsh, as the file _rfaas in a folder of $fpath.
# Which words there are, rfaas itself says: first how to treat them, then one a line with what it means.

_rfaas() {
  local program=${words[1]/#\~\//$HOME/} how
  local -a before found open
  (( CURRENT > 2 )) && before=("${(@Q)words[2,CURRENT-1]}")
  found=("${(@f)$("$program" __complete zsh -- "${before[@]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
  how=$found[1]
  shift found
  [[ $how == *open* ]] && open=(-S '')
  (( $#found )) && _describe -V rfaas found "${open[@]}"
  if [[ $how == *(files|folders)* ]]; then
    [[ $PREFIX == --*=* ]] && compset -P '*='
    [[ $how == *folders* ]] && open+=(-/)
    _files "${open[@]}"
  fi
  return 0
}

if [[ $funcstack[1] == _rfaas ]]; then
  _rfaas "$@"
else
  compdef _rfaas rfaas
fi
