/**
 * Replaces what leases of one node lose there: by the requests of a cluster that has this node alone. Where the connection has ended, it
 * makes another one, so that leases heal when the node is started again.
 */
import { parseBytes } from "../../base/units.ts";
import type { RfaasError } from "../../base/errors.ts";
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
  readonly #whyOver: () => RfaasError | undefined;
  readonly #again: Connect | undefined;
  #known: KnownNodes | undefined;

  /** `whyOver`: why the node's connection has ended, if it has; `again` makes another one, where there can be one. */
  constructor(node: OwnNode, whyOver: () => RfaasError | undefined, again: Connect | undefined) {
    this.#node = node;
    this.#whyOver = whyOver;
    this.#again = again;
  }

  /** For a lease that was taken with these options. */
  replacing<Module>(module: string | URL, options: AllocateOptions): Replace<Module> {
    const { timeoutMs = DEFAULT_WAIT_TIMEOUT_MS, memory = DEFAULT_MEMORY_BYTES } = options;
    const { loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS, signal: _, workers: __, ...wishes } = options;
    return async (workers, signal) => {
      const over = this.#again ? undefined : this.#whyOver();
      if (over) throw new NodeOver(over);
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
      take: (module, options) => node.take(module, options),
      close: async () => {},
    };
    return (this.#known ??= new KnownNodes([{ name: address, address }], {
      connect: async (at, signal) =>
        this.#again && this.#whyOver() ? await this.#again(at, signal) : own,
    }));
  }
}

/** The node will not be back: a lease gives up what it has lost there. */
class NodeOver extends Error {
  constructor(cause: RfaasError) {
    super(cause.message, { cause });
  }
}
