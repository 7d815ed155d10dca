help([[rfaas: lease cores of idle machines and call TypeScript functions on them in microseconds.
Begin with: rfaas help]])
whatis("Name: rfaas")
whatis("Version: @VERSION@")
whatis("Description: Function-as-a-Service for people who count microseconds")
conflict("rfaas")
-- The folder that modulefiles/ lies in, wherever the tarball was unpacked.
local root = myFileName():match("^(.*)/modulefiles/")
prepend_path("PATH", pathJoin(root, "bin"))
prepend_path("MANPATH", pathJoin(root, "share/man"))
-- An empty part stands for the system's own pages.
append_path("MANPATH", "")
