/** One run: a cluster under faults for a time, then in calm until everything has ended, and the history of it. */
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { ledgerPath } from "../../src/manager/state/state.ts";
import { Random } from "../sim/random.ts";
import type { LedgerRow } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import type { Actor } from "./machine/actor.ts";
import { CLIENTS, Cluster, type Executables } from "./cluster.ts";
import { FAULTS, MACHINE_FAULTS } from "./faults.ts";
import type { FaultContext } from "./steps.ts";
import { ETCD, type Happened, parseHistory } from "./history.ts";
import { leftovers } from "./leftovers.ts";

export interface ChaosOptions {
  seed: number;
  /** Of faults by chance. Default: none. */
  seconds?: number;
  executables: Executables;
  /** A second manager stands by, over an etcd. Default: there is one manager. */
  standby?: boolean;
  /** Someone sets the machine's clock, which is not to be done to one that is not thrown away. Default: no. */
  setsClock?: boolean;
  /** How many times longer than others the machine takes for all. Default: 1. */
  slowness?: number;
  /** Clients at a time. Default: 12. */
  clients?: number;
  /** Those faults alone. */
  faults?: readonly string[] | undefined;
  /** What is done instead of faults by chance. */
  script?: ((context: FaultContext) => Promise<void>) | undefined;
  /** Where histories and logs go besides. */
  keep?: string | undefined;
  onFault?: ((count: number, what: string) => void) | undefined;
}

/** A fault comes after such a pause, whatever the one before it still does. */
const PAUSE_MS = [100, 900] as const;
/** Until each client has a result once more when all is well: there are fewer cores than they would like, and who was cut off asks again late. */
const CALM_LIMIT_MS = 30_000;
const CLIENTS_END_LIMIT_MS = 60_000;
const BILLS_LIMIT_MS = 30_000;
const END_LIMIT_MS = 30_000;

export async function chaos(
  options: ChaosOptions,
): Promise<{ history: Happened[]; faults: number }> {
  using scratch = new Scratch();
  try {
    return await new Run(scratch, options).toEnd();
  } finally {
    if (options.keep !== undefined) {
      mkdirSync(options.keep, { recursive: true });
      Bun.spawnSync(["cp", "-r", scratch.join("history"), scratch.join("logs"), options.keep]);
    }
  }
}

class Run {
  readonly #scratch: Scratch;
  readonly #options: ChaosOptions;
  readonly #random: Random;
  readonly #busy = new Set<string>();
  readonly #working = new Set<Promise<void>>();
  #faults = 0;
  readonly #clients: number;
  readonly #slowness: number;
  #managers: string;
  #cluster!: Cluster;

  constructor(scratch: Scratch, options: ChaosOptions) {
    this.#scratch = scratch;
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#managers = Object.keys(options.executables)[0]!;
    this.#clients = options.clients ?? CLIENTS;
    this.#slowness = options.slowness ?? 1;
  }

  async toEnd(): Promise<{ history: Happened[]; faults: number }> {
    const { executables, standby = false, setsClock = false } = this.#options;
    const [version] = Object.keys(executables);
    const cluster = await Cluster.start({
      ...{ scratch: this.#scratch, executables, version: version!, standby, setsClock },
      slowness: this.#slowness,
    });
    this.#cluster = cluster;
    let history: Happened[];
    try {
      for (let i = 0; i < this.#clients; i++) await this.#startClient();
      await this.#harm();
      await this.#calmDown();
      await this.#endAll();
      history = this.#read();
      for (const what of await leftovers(cluster, this.#scratch))
        history.push({ t: history.at(-1)?.t ?? 0, by: "conductor", e: "left", what });
    } finally {
      await cluster[Symbol.asyncDispose]();
    }
    return { history, faults: this.#faults };
  }

  async #startClient(): Promise<void> {
    await this.#cluster.startClient(this.#version("client"), this.#random.between(0, 2 ** 31));
  }

  /** Whoever starts may be of either version; the manager, whose ledger follows its version, goes over to the last one and stays there. */
  #version(who: "manager" | "node" | "client"): string {
    const { versions } = this.#cluster;
    if (who !== "manager") return this.#random.pick(versions);
    if (this.#random.chance(0.5)) this.#managers = versions.at(-1)!;
    return this.#managers;
  }

  /** Faults, one after another and beside each other, until the time is over; whoever was killed gets a successor. */
  async #harm(): Promise<void> {
    const { seconds = 0, script, faults = Object.keys(FAULTS) } = this.#options;
    const names = faults.flatMap((name) => Array.from({ length: kindOf(name)[0] }, () => name));
    const end = performance.now() + 1000 * seconds;
    const context = this.#context();
    await script?.(context);
    while (performance.now() < end) {
      await Bun.sleep(this.#random.between(...PAUSE_MS));
      const name = this.#random.pick(names);
      const work = kindOf(name)[1](context).finally(() => this.#working.delete(work));
      this.#working.add(work);
      work.catch((error: unknown) => {
        this.#cluster.journal.say({ e: "stuck", who: name, what: String(error) });
      });
      const running = this.#cluster.clients.filter((each) => each.running).length;
      if (running < this.#clients) await this.#startClient();
    }
    await Promise.allSettled(this.#working);
  }

  #context(): FaultContext {
    const { journal } = this.#cluster;
    return {
      ...{ cluster: this.#cluster, random: this.#random },
      version: (who) => this.#version(who),
      note: (fault, target, detail) => {
        this.#faults++;
        journal.say({ e: "fault", fault, target, ...(detail === undefined ? {} : { detail }) });
        this.#options.onFault?.(this.#faults, `${fault} ${target} ${detail ?? ""}`);
      },
      alone: async (target, work) => {
        if (this.#busy.has(target)) return;
        this.#busy.add(target);
        try {
          await work();
        } finally {
          this.#busy.delete(target);
        }
      },
    };
  }

  /** All must come right by itself now: calls end, clients end, bills are complete. */
  async #calmDown(): Promise<void> {
    const { journal, clients, folder } = this.#cluster;
    journal.say({ e: "calm" });
    const waiting = new Set(clients.filter(({ running }) => running));
    const hears = new Results(folder);
    // Who does not get on is the checker's to find.
    await until(
      () => {
        for (const client of waiting)
          if (!client.running || hears.isThere(client.name)) waiting.delete(client);
        return waiting.size === 0;
      },
      "each client has a result",
      CALM_LIMIT_MS * this.#slowness,
    ).catch(() => {});
    writeFileSync(join(folder, "stop"), "");
    for (const client of clients) client.expectEnd();
    await Promise.all(
      clients.map(async (client) => {
        if (await client.endsWithin(CLIENTS_END_LIMIT_MS * this.#slowness)) return;
        journal.say({ e: "stuck", who: client.name, what: "does not end" });
        await client.kill();
      }),
    );
    await this.#settled(isOver);
  }

  /** Waits until all ledgers have the same bills, of which that holds; what does not come is the checker's to find. */
  async #settled(holds: (row: Row) => boolean): Promise<void> {
    const same = (): boolean => {
      const [first, ...others] = this.#cluster.ledgers.map(rowsOf);
      const own = JSON.stringify(first!.map(inWords));
      return (
        first!.every(holds) && others.every((rows) => JSON.stringify(rows.map(inWords)) === own)
      );
    };
    await until(same, "all bills are final", BILLS_LIMIT_MS * this.#slowness).catch(() => {});
  }

  async #endAll(): Promise<void> {
    const { journal, nodes, managers, ledgers, etcd } = this.#cluster;
    const end = async (actor: Actor): Promise<void> => {
      if (await actor.end("SIGTERM", END_LIMIT_MS * this.#slowness)) return;
      journal.say({ e: "stuck", who: actor.name, what: "did not end when told to" });
    };
    for (const node of nodes) await end(node);
    // Their last words are at all managers, too.
    await this.#settled(() => true);
    const inEtcd = etcd ? await this.#cluster.billsInEtcd() : [];
    for (const manager of managers) await end(manager);
    await this.#cluster.endOthers();
    for (const [i, path] of ledgers.entries())
      for (const row of rowsOf(path))
        journal.say({
          ...(etcd ? { ledger: managers[i]!.name } : {}),
          ...{ e: "bill", project: row.project ?? "", lease: row.lease, node: row.node },
          ...{ user: row.user, workers: row.workers, startedAtMs: row.started_at_ms },
          ...{ endedAtMs: row.ended_at_ms, reason: row.reason, presumed: row.presumed === 1 },
          ...{ coreNs: row.allocation_core_ns, calls: row.calls },
        });
    for (const { usage, project = "", presumed = false, ...bill } of inEtcd)
      journal.say({
        ...{ e: "bill", ledger: ETCD, ...bill, project, presumed },
        // As a ledger has them.
        endedAtMs: bill.endedAtMs === null ? null : Math.floor(bill.endedAtMs),
        ...{ coreNs: Math.floor(usage.allocationCoreNs), calls: usage.calls },
      });
    journal.say({ e: "takeovers", count: this.#cluster.leader().terms });
  }

  #read(): Happened[] {
    const { folder } = this.#cluster;
    return readdirSync(folder)
      .filter((name) => name.endsWith(".jsonl"))
      .flatMap((name) => parseHistory(readFileSync(join(folder, name), "utf8")))
      .toSorted((a, b) => a.t - b.t);
  }
}

const isOver = ({ ended_at_ms, presumed }: LedgerRow): boolean =>
  ended_at_ms !== null && presumed === 0;

const kindOf = (name: string) => (FAULTS[name] ?? MACHINE_FAULTS[name])!;

type Row = LedgerRow & { node: string; started_at_ms: number };

function rowsOf(state: string): Row[] {
  const db = new Database(ledgerPath(state), { readonly: true });
  try {
    return db.query<Row, []>("SELECT * FROM lease_usage ORDER BY lease").all();
  } finally {
    db.close();
  }
}

const inWords = ({ lease, ended_at_ms, presumed, calls, allocation_core_ns: held }: Row): string =>
  JSON.stringify({ lease, ended_at_ms, presumed, calls, held });

/** What clients write down from now on. */
class Results {
  readonly #folder: string;
  readonly #from = new Map<string, number>();

  constructor(folder: string) {
    this.#folder = folder;
    for (const name of readdirSync(folder)) this.#from.set(name, statSync(join(folder, name)).size);
  }

  isThere(client: string): boolean {
    const name = `${client}.jsonl`;
    const path = join(this.#folder, name);
    const from = this.#from.get(name) ?? 0;
    return existsSync(path) && readFileSync(path).subarray(from).includes('"outcome":"result"');
  }
}
