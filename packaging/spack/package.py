# From the tarball, and not from source: a build fetches Bun from npm, and Spack builds without a network. RDMA is no dependency:
# rfaas opens the libraries of the system, which fit its devices, when it first needs them.
import os
import platform

from spack_repo.builtin.build_systems.generic import Package

from spack.package import *

SHA256 = {
    "@VERSION@": {
@SUMS@
    },
}
TARGETS = {"x86_64": "x64", "aarch64": "arm64"}


class Rfaas(Package):
    """Function-as-a-Service for people who count microseconds: lease cores of idle machines and
    call TypeScript functions on them through their memory, locally or over RDMA."""

    homepage = "https://doi.org/10.1109/IPDPS54959.2023.00094"
    # Put the tarball into the folder in which spack is started, or into a mirror.
    manual_download = True

    license("BSD-3-Clause")

    for _version, _sums in SHA256.items():
        _sum = _sums.get(platform.machine())
        if _sum:
            version(_version, sha256=_sum)

    conflicts("platform=darwin", msg="rfaas runs on Linux")
    conflicts("platform=windows", msg="rfaas runs on Linux")

    def url_for_version(self, version):
        target = TARGETS[platform.machine()]
        return f"file://{os.getcwd()}/rfaas-{version}-linux-{target}.tar.gz"

    def install(self, spec, prefix):
        # A stripped executable is plain Bun: it is copied as it is.
        install_tree("bin", prefix.bin)
        install_tree("share", prefix.share)

    @run_after("install")
    def check_version(self):
        found = Executable(self.prefix.bin.rfaas)("--version", output=str)
        if str(self.version) not in found:
            raise InstallError(f"rfaas --version says {found.strip()}")
