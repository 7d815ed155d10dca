/**
 * What a guest boots: Debian's kernel, taken out of its package without installing it, and an initramfs with the few modules and
 * the init that turn this machine's /usr into a small machine with an RDMA device. Both are kept for later runs.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { CannotRunGuests, program, succeed } from "./packages.ts";

const ROOT = join(import.meta.dir, "..", "..");
const CACHE = join(ROOT, "node_modules", ".cache", "softroce");

const XZ = Buffer.from("\xfd7zXZ\0", "latin1");

/** Those that the host's files need, and those that may load while the agent starts. */
const MODULES = {
  base: ["virtio_pci", "virtio_console", "9pnet_virtio", "9p"],
  network: [
    ...["virtio_net", "crc32_generic", "ib_uverbs", "rdma_ucm", "rdma_rxe"],
    // By which the kernel tells of sockets: other machines load them when they are asked for.
    ...["unix_diag", "netlink_diag", "tcp_diag", "udp_diag"],
    // With the cipher, so that the kernel can encrypt what TCP carries.
    ...["tls", "gcm", "ctr", "ghash_generic", "aes_generic"],
    // For cables that lose packets and take their time.
    "sch_netem",
    // For networks within a guest, and what cuts them.
    ...["veth", "bridge", "nf_tables"],
  ],
} as const;

export interface Kernel {
  image: string;
  initramfs: string;
}

let prepared: Promise<Kernel> | undefined;

/** The kernel and the initramfs, made when they are not there yet; once, for guests that boot at the same time. */
export function prepareKernel(say: (line: string) => void): Promise<Kernel> {
  prepared ??= prepare(say);
  return prepared;
}

async function prepare(say: (line: string) => void): Promise<Kernel> {
  mkdirSync(CACHE, { recursive: true });
  const folder = await unpackedKernel(say);
  return { image: join(folder, "image"), initramfs: await initramfs(folder, say) };
}

/** A folder with `image`, and the modules of each group in the order in which they load. */
async function unpackedKernel(say: (line: string) => void): Promise<string> {
  const suffix = `_${new Bun.CryptoHasher("sha256").update(JSON.stringify(MODULES)).digest("hex").slice(0, 8)}`;
  const kept = readdirSync(CACHE).find((name) => name.endsWith(suffix));
  if (kept !== undefined) return join(CACHE, kept);

  const name = await newestKernel(say);
  say(`fetching ${name}`);
  const work = mkdtempSync(join(CACHE, "unpack-"));
  try {
    await succeed(["apt-get", "download", name], work);
    const [archive] = new Bun.Glob("*.deb").scanSync(work);
    await succeed([program("dpkg-deb"), "--extract", join(work, archive!), join(work, "all")]);
    const version = name.replace("linux-image-", "");
    const folder = join(work, "kept");
    mkdirSync(folder);
    await unpackImage(join(work, "all", "boot", `vmlinuz-${version}`), join(folder, "image"));
    await keepModules(join(work, "all"), version, folder);
    return keep(folder, join(CACHE, `${name}${suffix}`));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The package that linux-image-amd64 stands for. */
async function newestKernel(say: (line: string) => void, mayUpdate = true): Promise<string> {
  const depends = await succeed(["apt-cache", "depends", "linux-image-amd64"]).catch(() => "");
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name !== undefined) return name;
  if (!mayUpdate || process.getuid?.() !== 0)
    throw new CannotRunGuests(
      "apt knows no package linux-image-amd64; as root, run: apt-get update",
    );
  say("apt knows no kernel; running: apt-get update");
  await succeed(["apt-get", "update"]);
  return newestKernel(say, false);
}

/** QEMU boots the bare kernel too, and so does not unpack it at each boot, which takes an emulated processor seconds. */
async function unpackImage(from: string, to: string): Promise<void> {
  const file = readFileSync(from);
  // See "The Linux/x86 Boot Protocol": where the payload is, in a file that begins with a number of sectors of set-up code.
  const begin = (file.readUInt8(0x1f1) + 1) * 512 + file.readUInt32LE(0x248);
  const payload = file.subarray(begin, begin + file.readUInt32LE(0x24c));
  if (!payload.subarray(0, XZ.length).equals(XZ)) return copyFileSync(from, to);
  writeFileSync(`${to}.xz`, payload);
  // The length of the kernel follows the stream.
  await succeed(["/bin/sh", "-c", `${program("xz")} -dc --single-stream ${to}.xz >${to}`]);
  rmSync(`${to}.xz`);
}

async function keepModules(unpacked: string, version: string, folder: string): Promise<void> {
  await succeed([program("depmod"), "-b", unpacked, version]);
  const seen = new Set<string>();
  for (const [group, names] of Object.entries(MODULES)) {
    mkdirSync(join(folder, group));
    const lines = await succeed([
      program("modprobe"),
      ...["--dirname", unpacked, "--set-version", version, "--show-depends", "--all"],
      ...names,
    ]);
    for (const [, path] of lines.matchAll(/^insmod (\S+)/gm)) {
      if (seen.has(path!)) continue;
      seen.add(path!);
      const number = String(seen.size).padStart(2, "0");
      copyFileSync(path!, join(folder, group, `${number}-${basename(path!)}`));
    }
  }
}

/** Named by a hash of what is in it, so that a change of the init makes a new one. */
async function initramfs(kernel: string, say: (line: string) => void): Promise<string> {
  const files = new Map<string, string>([
    ["busybox", program("busybox")],
    ["init", join(import.meta.dir, "guest-init.sh")],
  ]);
  for (const group of Object.keys(MODULES))
    for (const name of readdirSync(join(kernel, group)).sort())
      files.set(join("modules", group, name), join(kernel, group, name));
  const settings = `ROOT='${ROOT}'\n`;

  const hash = new Bun.CryptoHasher("sha256").update(settings);
  for (const [name, path] of files) hash.update(name).update(readFileSync(path));
  const archive = join(CACHE, `initramfs-${hash.digest("hex").slice(0, 16)}.cpio`);
  if (existsSync(archive)) return archive;

  say("building the initramfs");
  const work = mkdtempSync(join(CACHE, "initramfs-"));
  try {
    const tree = join(work, "tree");
    for (const [name, path] of files) {
      mkdirSync(join(tree, name, ".."), { recursive: true });
      copyFileSync(path, join(tree, name));
    }
    writeFileSync(join(tree, "settings"), settings);
    const pack = `chmod 755 init busybox && find . | ${program("cpio")} --quiet -o -H newc -R 0:0 >../archive`;
    await succeed(["/bin/sh", "-c", pack], tree);
    for (const old of readdirSync(CACHE))
      if (old.endsWith(".cpio")) rmSync(join(CACHE, old), { force: true });
    return keep(join(work, "archive"), archive);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Moves what is complete to its place; another process may have done the same meanwhile. */
function keep(made: string, place: string): string {
  if (!existsSync(place)) renameSync(made, place);
  return place;
}
