/** What the machine and the cluster know of the word at the cursor: functions of a module, nodes, packages. Nothing of a module runs. */
import { join } from "node:path";
import { exportsOf, nodeSockets } from "../shared/here.ts";
import { LIMIT_MS, type Offer, type Word } from "./word.ts";

/** Of the packages, those that were used last. */
const MAX_PACKAGES = 50;

/** Functions, as `fn.ts#name`; undefined while the word names no file yet. */
export async function functionWords(current: string): Promise<Word[] | undefined> {
  const hash = current.lastIndexOf("#");
  const target = hash > 0 && !current.includes("/", hash) ? current.slice(0, hash) : current;
  const names = await exportsOf(inHome(target));
  return names?.map((name) => [`${target}#${name}`, ""] as const);
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
  const { managerAt, urlsOf } = await import("../cluster/manager-client.ts");
  const http = given.get("http");
  const token = given.get("token");
  const client = managerAt({
    ...(http ? { http: urlsOf(http, "--http") } : {}),
    ...(token ? { token } : {}),
  });
  if (!client) return [];
  return (JSON.parse(await client.ask("GET", "/v1/nodes")) as { nodes: ClusterNode[] }).nodes;
}

export async function nodeWords(given: Offer["given"]): Promise<Word[]> {
  const nodes = await clusterNodes(given);
  return nodes.map(({ name, address, state }) => [name, `${state}, ${address}`] as const);
}

/** Sockets of nodes on this machine. */
export const addressWords = (): Word[] =>
  nodeSockets().map((socket) => [socket, "a node on this machine"] as const);

/** Addresses of a manager's nodes. */
export async function clusterAddressWords(given: Offer["given"]): Promise<Word[]> {
  const nodes = await clusterNodes(given);
  return nodes.map(({ name, address }) => [address, name] as const);
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
