/** The caches of packages of a cluster's nodes, looked after together. */
import { NodeUnreachable } from "../../base/errors.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import type { Packages } from "../node/packages.ts";
import type { PushOptions, WaitOptions } from "../options/allocate-options.ts";
import type { ClusterNode } from "./node.ts";
import { isOfNode } from "./voucher.ts";

export class ClusterPackages implements Packages {
  readonly #nodes: () => readonly ClusterNode[];

  /** Of those of the nodes that can be reached. */
  constructor(nodes: () => readonly ClusterNode[]) {
    this.#nodes = nodes;
  }

  async push(module: string | URL, options?: PushOptions): Promise<string> {
    const [hash] = await this.#onEach((packages) => packages.push(module, options));
    return hash!;
  }

  async list(options?: WaitOptions): Promise<StoredPackage[]> {
    const all = await this.#onEach((packages) => packages.list(options));
    const merged = new Map<string, StoredPackage>();
    for (const stored of all.flat()) {
      const known = merged.get(stored.hash);
      merged.set(stored.hash, known === undefined ? stored : both(known, stored));
    }
    return [...merged.values()].toSorted((a, b) => b.usedAtMs - a.usedAtMs);
  }

  async remove(hash: string, options?: WaitOptions): Promise<void> {
    const digits = String(hash).replace(/^package:/, "");
    const has = async (packages: Packages): Promise<boolean> =>
      (await packages.list(options)).some((stored) => stored.hash === digits);
    const all = await this.#onEach(async (packages) => ({ packages, has: await has(packages) }));
    const holders = all.filter((one) => one.has);
    // When no node has the package, pass on a node's error.
    const asked = holders.length > 0 ? holders : all.slice(0, 1);
    const answers = await Promise.allSettled(
      asked.map(({ packages }) => packages.remove(hash, options)),
    );
    for (const [i, answer] of answers.entries()) {
      if (answer.status === "fulfilled") continue;
      // Nodes of one machine share a cache: another may have been first.
      if (holders.length < 2 || (await has(asked[i]!.packages))) throw answer.reason;
    }
  }

  /** What the nodes that answer say. Throws what the first of the others has thrown when it is their answer, or none answers. */
  async #onEach<Said>(ask: (packages: Packages) => Promise<Said>): Promise<Said[]> {
    const nodes = this.#nodes();
    if (nodes.length === 0)
      throw new NodeUnreachable("cluster", "no node of the cluster is up; start one");
    const answers = await Promise.allSettled(
      nodes.map(async (node) => await ask(await node.packages())),
    );
    const said = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    const failed = answers.filter((answer) => answer.status === "rejected");
    const own = failed.find(({ reason }) => !isOfNode(reason));
    const fatal = own ?? (said.length === 0 ? failed[0] : undefined);
    if (fatal) throw fatal.reason;
    return said;
  }
}

const both = (a: StoredPackage, b: StoredPackage): StoredPackage => ({
  ...a,
  usedAtMs: Math.max(a.usedAtMs, b.usedAtMs),
  leases: a.leases + b.leases,
});
