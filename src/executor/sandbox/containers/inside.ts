/** What a container shows of the node: the program, the room's folders, and the node's own system where no image is named. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  readdirSync,
  realpathSync,
  symlinkSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { HostStart, RoomFolders } from "../driver.ts";

/** What is ours lies there, whatever system is around it. */
const OURS = "/.rfaas";
/** Where a host finds what it is handed. */
export const HANDED_FOLDER = `${OURS}/handed`;
const IN_OURS: RoomFolders = { package: `${OURS}/package`, scratch: `${OURS}/scratch` };

/** The folders of a system that programs and libraries are in; some are links to others. */
const SYSTEM = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/** What of /etc libraries ask for: how names are found, whom to trust, where fonts and libraries are. Nothing of it is secret. */
const OF_ETC = [
  ...["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone"],
  ...["passwd", "group", "nsswitch.conf", "hosts", "host.conf", "resolv.conf", "protocols"],
  ...[
    "services",
    "gai.conf",
    "ssl",
    "pki",
    "ca-certificates",
    "fonts",
    "os-release",
    "libibverbs.d",
  ],
];

/** What the kernel says of processors and limits. */
const OF_SYS = ["/sys/devices/system", "/sys/fs/cgroup"];

export interface Bind {
  from: string;
  to: string;
  writable?: true;
}

/** A link of a file system: where it is, and to where. */
export interface Link {
  at: string;
  to: string;
}

export interface Shown {
  command: readonly string[];
  binds: readonly Bind[];
}

/** Where a container has its scratch folder. */
export const SCRATCH_IN_OURS = IN_OURS.scratch;

/** The room's folders, as a host in a container sees them. */
export const inOurs = (): RoomFolders => IN_OURS;

/** The host's command as a container has it, and what must be shown for it; the program has a place of its own there. */
export function shownFor({ command, program, folders, terms }: HostStart): Shown {
  const moved = program.map((from, at) => ({ from, to: `${OURS}/program${at}/${basename(from)}` }));
  // The folder that the host is to end with is the container's.
  const words = command(0).map((word) => {
    const home = moved.find(({ from }) => word === from || word.startsWith(`${from}/`));
    return home ? `${home.to}${word.slice(home.from.length)}` : word;
  });
  const { package: linked, scratch, handed } = folders!;
  return {
    command: words,
    binds: [
      ...moved,
      { from: linked, to: IN_OURS.package },
      { from: scratch, to: IN_OURS.scratch, writable: true },
      { from: scratch, to: "/tmp", writable: true },
      ...(handed === undefined ? [] : [{ from: handed, to: HANDED_FOLDER }]),
      ...terms.readPaths.map((path) => ({ from: path, to: path })),
    ],
  };
}

/** The node's own system: the folders of its programs and libraries, and the links among them. */
export function ownSystem(): { binds: Bind[]; links: Link[] } {
  const shown = entriesOf("/", SYSTEM);
  const more = [...OF_ETC.map((name) => `/etc/${name}`), ...OF_SYS].filter((path) =>
    existsSync(path),
  );
  return { ...shown, binds: [...shown.binds, ...more.map((path) => ({ from: path, to: path }))] };
}

/** The same for an engine that makes places for mounts, and nothing else: what is a link on the node is a mount there. */
export function systemBinds(): Bind[] {
  const { binds, links } = ownSystem();
  const linked = links.map(({ at }) => ({ from: realpathSync(at), to: at }));
  return withoutSys([...binds, ...linked]);
}

/** A container has a `/sys` of its own. */
export const withoutSys = (binds: readonly Bind[]): Bind[] =>
  binds.filter(({ to }) => !to.startsWith("/sys/"));

/** Makes a folder that is the root of a container with the node's own system: it has the links, and places for what is mounted are made there. */
export function makeRoot(root: string): void {
  mkdirSync(root);
  // Whatever the node's umask is: its host may be another user.
  chmodSync(root, 0o755);
  for (const { at, to } of ownSystem().links) symlinkSync(to, join(root, at));
}

/** A system that lies in a folder, but for what every container has of its own. */
export function systemIn(folder: string): { binds: Bind[]; links: Link[] } {
  const own = new Set(["proc", "sys", "dev", "tmp", basename(OURS)]);
  return entriesOf(
    folder,
    readdirSync(folder).filter((name) => !own.has(name)),
  );
}

function entriesOf(root: string, names: readonly string[]): { binds: Bind[]; links: Link[] } {
  const shown: { binds: Bind[]; links: Link[] } = { binds: [], links: [] };
  for (const name of names) {
    const path = join(root, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink()) shown.links.push({ at: `/${name}`, to: readlinkSync(path) });
    else if (stat) shown.binds.push({ from: path, to: `/${name}` });
  }
  return shown;
}
