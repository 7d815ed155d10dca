/** What is in a folder and on this machine: functions of a module, which is parsed and never run, and sockets of nodes. */
import { readFileSync, statSync } from "node:fs";
import { dirname, extname } from "node:path";
import { defaultAddress } from "../../control/address.ts";
import { formatOf } from "../../library/formats.ts";

/** Larger files are no modules that people write. */
const MAX_MODULE_BYTES = 4 * 1024 * 1024;

/**
 * What the file exports, by name; undefined where there is no such file, or it is too large for a module.
 *
 * @throws {Error} what it holds is no module
 */
export async function exportsOf(path: string): Promise<string[] | undefined> {
  const about = statSync(path, { throwIfNoEntry: false });
  if (!about?.isFile() || about.size > MAX_MODULE_BYTES) return undefined;
  const format = formatOf(path)?.name;
  if (format === "native") {
    const { readLibraryFile } = await import("../../library/library-file.ts");
    return readLibraryFile(path).functions.toSorted();
  }
  if (format === "wasm") {
    const { readWasm } = await import("../../library/wasm.ts");
    return [...readWasm(readFileSync(path)).functions.keys()].toSorted();
  }
  if (!/^\.[cm]?[jt]sx?$/.test(extname(path))) return [];
  const transpiler = new Bun.Transpiler({ loader: extname(path).endsWith("x") ? "tsx" : "ts" });
  return transpiler.scan(readFileSync(path, "utf8")).exports.toSorted();
}

/** Sockets of this user at which a node listens, in the folder where nodes are looked for. */
export function usualSockets(): string[] {
  const { path } = defaultAddress() as { path: string };
  const folder = dirname(path);
  return listeningSockets().filter((socket) => dirname(socket) === folder);
}

/** As {@link usualSockets}, with those elsewhere that are named like a node's. */
export function nodeSockets(): string[] {
  const named = listeningSockets().filter((socket) => socket.endsWith("/node.sock"));
  return [...new Set([...usualSockets(), ...named])].toSorted();
}

function listeningSockets(): string[] {
  let sockets: string;
  try {
    sockets = readFileSync("/proc/net/unix", "utf8");
  } catch {
    // Some containers hide it.
    return [];
  }
  // Of each socket: number, references, protocol, flags, type, state, inode, path; 00010000 is one that listens.
  return sockets.split("\n").flatMap((line) => {
    const socket = /^\S+ \S+ \S+ 00010000 \S+ \S+ +\d+ (.+)$/.exec(line)?.[1];
    return socket !== undefined && isOurSocket(socket) ? [socket] : [];
  });
}

function isOurSocket(path: string): boolean {
  const about = statSync(path, { throwIfNoEntry: false });
  return about !== undefined && about.isSocket() && about.uid === process.getuid?.();
}
