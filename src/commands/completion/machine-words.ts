/** What the machine and the cluster know of the word at the cursor: functions of a module, nodes, packages. Nothing of a module runs. */
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { defaultAddress } from "../../control/address.ts";
import type { Offer, Word } from "./offer.ts";

/** Larger files are no modules that people write. */
const MAX_MODULE_BYTES = 4 * 1024 * 1024;
/** Of the packages, those that were used last. */
const MAX_PACKAGES = 50;
/** A shell waits no longer for a node or a manager. */
export const LIMIT_MS = 200;

/** Functions, as `fn.ts#name`; undefined while the word names no file yet. */
export async function functionWords(current: string): Promise<Word[] | undefined> {
  const hash = current.lastIndexOf("#");
  const target = hash > 0 && !current.includes("/", hash) ? current.slice(0, hash) : current;
  const path = inHome(target);
  const about = statSync(path, { throwIfNoEntry: false });
  if (!about?.isFile() || about.size > MAX_MODULE_BYTES) return undefined;
  return (await functionsOf(path)).map((name) => [`${target}#${name}`, ""] as const);
}

async function functionsOf(path: string): Promise<string[]> {
  const { formatOf } = await import("../../library/formats.ts");
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

const inHome = (path: string): string =>
  path.startsWith("~/") ? join(process.env["HOME"] ?? "~", path.slice(2)) : path;

interface ClusterNode {
  name: string;
  address: string;
  state: string;
}

/** The nodes that a manager knows, over HTTP or its own protocol: whichever the line or the environment names. */
async function clusterNodes(given: Offer["given"]): Promise<ClusterNode[]> {
  const manager = given.get("manager") || process.env["RFAAS_MANAGER"];
  if (manager && !given.has("http")) {
    const { ManagerSubscription } = await import("../../client/cluster/manager-link.ts");
    const token = given.get("token") || process.env["RFAAS_TOKEN"] || null;
    const subscription = await ManagerSubscription.connect(manager, token, {
      timeoutMs: LIMIT_MS,
      signal: undefined,
    });
    return [...subscription.nodes.values()];
  }
  const { managerAt, urlOf } = await import("../shared/manager-client.ts");
  const http = given.get("http");
  const token = given.get("token");
  const client = managerAt({
    ...(http ? { http: urlOf(http, "--http") } : {}),
    ...(token ? { token } : {}),
  });
  if (!client) return [];
  return (JSON.parse(await client.ask("GET", "/v1/nodes")) as { nodes: ClusterNode[] }).nodes;
}

export async function nodeWords(given: Offer["given"]): Promise<Word[]> {
  const nodes = await clusterNodes(given);
  return nodes.map(({ name, address, state }) => [name, `${state}, ${address}`] as const);
}

/** Sockets of nodes on this machine, then the addresses of a manager's nodes. */
export function addressWords(): Word[] {
  const { path } = defaultAddress() as { path: string };
  const folder = dirname(path);
  const beside = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  // Of each socket: number, references, protocol, flags, type, state, inode, path; 00010000 is one that listens.
  const listening = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , , flags]) => flags === "00010000")
    .map((fields) => fields.slice(7).join(" "))
    .filter((socket) => socket.endsWith("/node.sock"));
  return [...new Set([...beside, ...listening])]
    .filter(isOurSocket)
    .toSorted()
    .map((socket) => [socket, "a node on this machine"] as const);
}

export async function clusterAddressWords(given: Offer["given"]): Promise<Word[]> {
  const nodes = await clusterNodes(given);
  return nodes.map(({ name, address }) => [address, name] as const);
}

function isOurSocket(path: string): boolean {
  const about = statSync(path, { throwIfNoEntry: false });
  return about !== undefined && about.isSocket() && about.uid === process.getuid?.();
}

/** Packages of the node that the line or the environment names, else of the user's own cache. */
export async function packageWords(given: Offer["given"]): Promise<Word[]> {
  const node = given.get("node") || process.env["RFAAS_NODE"];
  const packages = node ? await packagesOf(node) : await ownPackages();
  return packages.map(({ hash, name }) => [hash, name] as const);
}

async function packagesOf(node: string) {
  const { openNode } = await import("../../client/invoker.ts");
  const invoker = await openNode({ node, connectTimeoutMs: LIMIT_MS });
  return (await invoker.packages.list()).slice(0, MAX_PACKAGES);
}

async function ownPackages() {
  const { PackageCache } = await import("../../executor/packages/cache.ts");
  return new PackageCache().recent(MAX_PACKAGES);
}
