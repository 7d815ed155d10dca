# Completion of rfaas for fish, as ~/.config/fish/completions/rfaas.fish
# Which words there are, rfaas itself says: first how to treat them, then one a line with what it means.

function __rfaas_complete
    set -l before (commandline -opc)
    set -l program (string replace -r '^~/' "$HOME/" -- $before[1])
    set -e before[1]
    set -l current (commandline -ot)
    set -l found ($program __complete fish -- $before "$current" 2>/dev/null </dev/null)
    set -l how "$found[1]"
    set -e found[1]
    test (count $found) -gt 0; and printf '%s\n' $found
    # Of `--flag=path` only the path is one.
    set -l flag (string match -r -- '^--[^=]*=' "$current")
    set -l path (string replace -- "$flag" '' "$current")
    if string match -q '*files*' -- $how
        __fish_complete_path "$path" | string replace -r '^' -- "$flag"
    else if string match -q '*folders*' -- $how
        __fish_complete_directories "$path" | string replace -r '^' -- "$flag"
    end
    return 0
end

complete -c rfaas -f -a '(__rfaas_complete)'
