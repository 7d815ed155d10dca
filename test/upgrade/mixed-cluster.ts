/** A manager and a node, each of the one version or of the other, on one machine and in clear. */
import { join } from "node:path";
import { type Finished, ServedNode, rfaas } from "../support/executable.ts";
import { type LedgerRow, RunningManager } from "../support/manager.ts";
import { RecordingRelay } from "../support/recording-relay.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

export const MODULE = join(import.meta.dir, "functions.ts");
const CLIENT = join(import.meta.dir, "client.ts");
const CLIENT_LIMIT_MS = 60_000;
const BILL_LIMIT_MS = 30_000;

const at = (port: number): string => `127.0.0.1:${port}`;
const portOf = (address: string): number => Number(address.split(":").at(-1));

export class MixedCluster implements AsyncDisposable {
  readonly scratch = new Scratch();
  manager!: RunningManager;
  node!: ServedNode;
  /** What node and clients say to the manager, and clients to the node, and what these answer. */
  toManager!: RecordingRelay;
  toNode!: RecordingRelay;

  /** Of these executables. */
  static async start(manager: string, node: string): Promise<MixedCluster> {
    const cluster = new MixedCluster();
    try {
      await cluster.#start(manager, node);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  async #start(manager: string, node: string): Promise<void> {
    const { scratch } = this;
    this.manager = await RunningManager.start(
      scratch.path,
      ["--http", "127.0.0.1:0"],
      "127.0.0.1",
      manager,
    );
    const to = (port: number) => ({ host: "127.0.0.1", port });
    this.toManager = await RecordingRelay.start("127.0.0.1", to(portOf(this.manager.address)));
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = probe;
    probe.stop(true);
    this.toNode = await RecordingRelay.start("127.0.0.1", to(port));
    const own = ["--name", "n1", "--cores", "4", "--memory", "1GiB"];
    const files = ["--state", scratch.join("node"), "--cache", scratch.join("cache")];
    const known = ["--manager", at(this.toManager.port), "--advertise", at(this.toNode.port)];
    this.node = await ServedNode.start(at(port), [...own, ...files, ...known], [], node);
    await until(() => this.node.stderr.includes("knows this node"), "the manager knows the node");
  }

  /** Runs the client's program by an executable. */
  async call(executable: string, project: string, fabric: string): Promise<Finished> {
    const where = JSON.stringify({ manager: at(this.toManager.port) });
    return await rfaas(["run", CLIENT, where, MODULE, project, fabric], {
      ...{ executable, limitMs: CLIENT_LIMIT_MS },
    });
  }

  /** A client that takes a lease and keeps it until it is revoked. */
  async hold(executable: string): Promise<Finished> {
    const program = this.scratch.file(
      "holds.ts",
      `import { invoker } from "rfaas";
      const rf = await invoker({ manager: ${JSON.stringify(at(this.toManager.port))} });
      const lease = await rf.allocate(${JSON.stringify(MODULE)}, { memory: "1MiB", polling: "warm" });
      await new Promise((resolve) => lease.on("revoking", resolve));
      await rf.close();`,
    );
    return await rfaas(["run", program], { executable });
  }

  /** As an operator: `rfaas node drain n1`, and such. */
  async operate(executable: string, ...args: string[]): Promise<Finished> {
    return await rfaas(["node", ...args, "--http", this.manager.url], { executable });
  }

  /** What is listed, by manager and by node. */
  async list(executable: string): Promise<Finished[]> {
    const places = [
      ["--manager", at(this.toManager.port)],
      ["--node", at(this.toNode.port)],
    ];
    return await Promise.all(
      places.map((place) => rfaas(["ps", "--json", ...place], { executable })),
    );
  }

  /** What the ledger has of a project when so many leases of it are over. */
  async billed(project: string, leases: number): Promise<LedgerRow[]> {
    const rows = (): LedgerRow[] => this.manager.rows().filter((row) => row.project === project);
    await until(
      () => rows().filter(({ ended_at_ms }) => ended_at_ms !== null).length === leases,
      `${project} is billed`,
      BILL_LIMIT_MS,
    );
    return rows();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node?.[Symbol.asyncDispose]();
    await this.manager?.[Symbol.asyncDispose]();
    for (const relay of [this.toNode, this.toManager]) await relay?.[Symbol.asyncDispose]();
    this.scratch[Symbol.dispose]();
  }
}
