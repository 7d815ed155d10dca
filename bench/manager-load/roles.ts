/** The nodes and the clients of the benchmark: two processes that talk to the manager. */
import { type Socket, connect } from "bun";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { parseAddress } from "../../src/control/address.ts";
import { Connection } from "../../src/control/connection.ts";
import { ManagerLink } from "../../src/executor/accounts/manager-link.ts";
import { fabrics } from "../../src/fabric/registry.ts";
import {
  HEARTBEAT_INTERVAL_MS,
  MANAGER_PROTOCOL_VERSION,
  type ManagerToNode,
  type ToManager,
  managerToNodeVocabulary,
} from "../../src/protocol/manager-messages.ts";
import {
  type Answer,
  CORES,
  type ClientsTask,
  MEMORY_BYTES,
  type NodesTask,
  STATES,
  type Seen,
  type StateName,
  nodeName,
  nowMs,
} from "./tasks.ts";

/** A node whose connection can be cut, which a link would only make again. */
class CuttableNode {
  readonly #connection: Connection<ManagerToNode, ToManager>;
  readonly #beat: ReturnType<typeof setInterval>;
  #socket: Socket<undefined> | undefined;
  #freeCores = CORES;
  #draining = false;

  constructor(manager: string, name: string) {
    this.#connection = new Connection(managerToNodeVocabulary, {
      message: ({ t }) => t === "accepted" && this.#report(),
      closed: () => clearInterval(this.#beat),
    });
    this.#beat = setInterval(() => this.#report(), HEARTBEAT_INTERVAL_MS);
    const greeting = { protocol: MANAGER_PROTOCOL_VERSION, version: "0", settling: false };
    this.#connection.send({ t: "announce", ...greeting, ...announcement(name) });
    void this.#connect(manager);
  }

  set(state: "full" | "draining"): void {
    this.#freeCores = 0;
    this.#draining = state === "draining";
    this.#report();
  }

  hush(): void {
    clearInterval(this.#beat);
  }

  cut(): void {
    this.#socket?.terminate();
  }

  async #connect(manager: string): Promise<void> {
    const address = parseAddress(manager);
    if (address.kind !== "tcp") throw new Error(`${manager} is not HOST:PORT`);
    const socket = this.#connection.handler();
    this.#socket = await connect({ hostname: address.host, port: address.port, socket });
    this.#socket.setNoDelay(true);
  }

  #report(): void {
    const freeMemoryBytes = this.#freeCores === 0 ? 0 : MEMORY_BYTES;
    const free = { freeCores: this.#freeCores, freeMemoryBytes };
    this.#connection.send({ t: "capacity", ...free, leases: 0, draining: this.#draining });
  }
}

function announcement(name: string) {
  return {
    name,
    instance: `${name}-1`,
    address: "10.0.0.1:7700",
    cores: CORES,
    memoryBytes: MEMORY_BYTES,
    fabrics: fabrics.map(({ name }) => name),
    machine: `machine-of-${name}`,
    token: null,
  };
}

export function nodesRole(manager: string): void {
  const events = { drain() {}, resume() {}, removed() {}, key() {}, log() {} };
  const nodes = new Map<string, CuttableNode>();
  process.on("message", (message: NodesTask) => {
    const answer: Answer = { atMs: nowMs() };
    if (message.task === "clock") {
      // The answer is all that is wanted.
    } else if (message.task === "storm")
      for (let i = 0; i < message.count; i++)
        new ManagerLink({ manager, announce: announcement(nodeName(i)), events });
    else if (message.task === "joined")
      nodes.set(message.name, new CuttableNode(manager, message.name));
    else if (message.task === "cut") nodes.get(message.name)!.cut();
    else if (message.task === "hush") nodes.get(message.name)!.hush();
    else nodes.get(message.name)!.set(message.task);
    process.send!(answer);
  });
  process.on("disconnect", () => process.exit());
}

export function clientsRole(manager: string): void {
  const clients: ManagerSubscription[] = [];
  /** Notes for each client when the nodes of `names` are all in the state; says so when it has for all clients. */
  const watch = (names: readonly string[], state: StateName) => {
    const seenAtMs: number[] = [];
    for (const client of clients) {
      const missing = new Set(names);
      const unlisten = client.onChange(({ changed }) => {
        for (const node of changed) if (STATES[state](node)) missing.delete(node.name);
        if (missing.size > 0) return;
        unlisten();
        if (seenAtMs.push(nowMs()) === clients.length) process.send!({ seenAtMs } satisfies Seen);
      });
    }
  };
  const carryOut = async (message: ClientsTask): Promise<void> => {
    if (message.task === "subscribe") {
      const connecting = Array.from({ length: message.count }, () =>
        ManagerSubscription.connect(manager),
      );
      clients.push(...(await Promise.all(connecting)));
    } else if (message.task === "watch") {
      const { names } = message;
      const all =
        typeof names === "number" ? Array.from({ length: names }, (_, i) => nodeName(i)) : names;
      watch(all, message.state);
    }
    process.send!({ atMs: nowMs() } satisfies Answer);
  };
  process.on("message", (message: ClientsTask) => void carryOut(message));
  process.on("disconnect", () => process.exit());
}
