/**
 * Replaces what leases of one node lose there: by the requests of a cluster that has this node alone. Where the connection has ended, it
 * makes another one, so that leases heal when the node is started again.
 */
import { parseBytes } from "../../base/units.ts";
import type { Replace } from "../lease/healing.ts";
import {
  type AllocateOptions,
  DEFAULT_LOAD_TIMEOUT_MS,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_WAIT_TIMEOUT_MS,
} from "../options/allocate-options.ts";
import { Gathering } from "./gathering.ts";
import { KnownNodes } from "./known-nodes.ts";
import type { Connect, ConnectedNode } from "./node.ts";

/** The node as its program has it: not this one's to close. */
export interface OwnNode extends ConnectedNode {
  readonly address: string;
}

export class OneNode {
  readonly #node: OwnNode;
  readonly #isOver: () => boolean;
  readonly #again: Connect;
  #known: KnownNodes | undefined;

  /** `isOver`: whether the node's connection has ended; `again` makes another one. */
  constructor(node: OwnNode, isOver: () => boolean, again: Connect) {
    this.#node = node;
    this.#isOver = isOver;
    this.#again = again;
  }

  /** For a lease that was taken with these options. */
  replacing<Module>(module: string | URL, options: AllocateOptions): Replace<Module> {
    const { timeoutMs = DEFAULT_WAIT_TIMEOUT_MS, memory = DEFAULT_MEMORY_BYTES } = options;
    const { loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS, signal: _, workers: __, ...wishes } = options;
    return async (workers, signal) => {
      const gathered = await new Gathering<Module>(this.#nodes, module, {
        ...{ workers, memoryBytes: parseBytes(memory, "memory"), placement: "pack", maxNodes: 1 },
        ...{ wait: true, timeoutMs, signal, lease: { ...wishes, loadTimeoutMs } },
      }).run();
      const { address } = this.#node;
      return gathered.map(({ lease }) => ({ lease, node: address, address }));
    };
  }

  /** Ends the requests, for a reason, and the connections that it has made. */
  async close(reason: Error): Promise<void> {
    this.#known?.end(reason);
    await this.#known?.disconnect();
  }

  get #nodes(): KnownNodes {
    const node = this.#node;
    const { address } = node;
    const own: ConnectedNode = {
      cores: node.cores,
      packages: node.packages,
      status: () => node.status(),
      take: (module, options, offer) => node.take(module, options, offer),
      hasLine: node.hasLine ?? false,
      waitInLine: async (wanted, signal) => await node.waitInLine?.(wanted, signal),
      close: async () => {},
    };
    return (this.#known ??= new KnownNodes([{ name: address, address }], {
      connect: async (at, signal) => (this.#isOver() ? await this.#again(at, signal) : own),
    }));
  }
}
