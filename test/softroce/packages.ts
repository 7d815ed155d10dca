/**
 * What the guests need of the machine: QEMU to run them, and, because their /usr is this machine's, the RDMA userland that the
 * tests use inside. As root on Debian, what is missing is installed.
 */
import { existsSync } from "node:fs";

/** This machine cannot run guests; the message says why and what to do. The caller counts it as a skip. */
export class CannotRunGuests extends Error {
  override readonly name = "CannotRunGuests";
}

const PACKAGES = [
  "qemu-system-x86",
  "rdma-core",
  "ibverbs-providers",
  "libibverbs-dev",
  "librdmacm-dev",
  "libfabric-dev",
  "perftest",
  "ibverbs-utils",
  "rdmacm-utils",
  "busybox-static",
  "cpio",
  "kmod",
  "xz-utils",
  "iproute2",
];

const PROGRAMS = [
  "qemu-system-x86_64",
  "busybox",
  "cpio",
  "modprobe",
  "depmod",
  "xz",
  "dpkg-deb",
  "apt-get",
  "setpriv",
  "prlimit",
  "ip",
  "rdma",
  "ibv_devices",
  "ib_write_lat",
  "ib_write_bw",
  "rping",
];

const LIBRARY_FOLDER = "/usr/lib/x86_64-linux-gnu";
const LIBRARIES = [
  "libibverbs.so.1",
  "librdmacm.so.1",
  "libibverbs/librxe-rdmav*.so",
  "libfabric.so.1",
];

/** The administrator's programs are needed too, and are not on everybody's path. */
const SEARCH_PATH = `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`;

/** Where a program lies; only for those that `preparePackages` has found. */
export function program(name: string): string {
  const path = Bun.which(name, { PATH: SEARCH_PATH });
  if (path === null) throw new CannotRunGuests(`there is no program "${name}"`);
  return path;
}

/** Makes sure that everything is there. */
export async function preparePackages(say: (line: string) => void): Promise<void> {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new CannotRunGuests(
      `guests are x86-64 Linux machines that share this machine's /usr, and this is ${process.platform} on ${process.arch}`,
    );
  const before = missing();
  if (before.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${PACKAGES.join(" ")}`;
  if (process.getuid?.() !== 0)
    throw new CannotRunGuests(`missing: ${before.join(", ")}; as root, run: ${command}`);
  if (Bun.which("apt-get") === null)
    throw new CannotRunGuests(
      `missing: ${before.join(", ")}; install what Debian calls ${PACKAGES.join(" ")}`,
    );
  say(`missing: ${before.join(", ")}; running: apt-get update && ${command}`);
  await succeed(["apt-get", "update"]);
  await succeed(command.split(" "));
  const after = missing();
  if (after.length > 0)
    throw new CannotRunGuests(`still missing after ${command}: ${after.join(", ")}`);
}

function missing(): string[] {
  return [
    ...PROGRAMS.filter((name) => Bun.which(name, { PATH: SEARCH_PATH }) === null),
    ...LIBRARIES.filter((pattern) => !found(pattern)),
  ];
}

function found(pattern: string): boolean {
  if (!existsSync(LIBRARY_FOLDER)) return false;
  const [first] = new Bun.Glob(pattern).scanSync({ cwd: LIBRARY_FOLDER, onlyFiles: false });
  return first !== undefined;
}

/** Runs a command that prepares; its failure means that this machine cannot run guests. */
export async function succeed(command: string[], cwd = "/"): Promise<string> {
  const child = Bun.spawn(command, {
    cwd,
    env: { ...process.env, PATH: SEARCH_PATH, DEBIAN_FRONTEND: "noninteractive" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0)
    throw new CannotRunGuests(`"${command.join(" ")}" failed:\n${stderr.trim()}`);
  return stdout;
}
