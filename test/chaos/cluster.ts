/** The processes of a run: a manager, nodes at home and away, and clients, with files and networks of the run's own. */
import { copyFileSync, cpSync, linkSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rfaas } from "../support/executable.ts";
import type { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { Actor } from "./machine/actor.ts";
import type { ClientConfig } from "./clients/client.ts";
import { Disk } from "./machine/disks.ts";
import type { EtcdBill } from "./machine/etcd-bills.ts";
import { startOfMachineMs } from "./functions/clock.ts";
import { Journal } from "./journal.ts";
import { KINDS, NEW_KINDS } from "./clients/kinds.ts";
import { HOME, Networks } from "./machine/network.ts";

/** Nodes at home, and as many away. */
const NODES_EACH = 2;
export const CLIENTS = 12;
/** The first of each manager's two ports: of nodes and clients, and of HTTP. */
const MANAGER_PORTS = [7800, 7810];
const MANAGERS = ["manager", "standby"];
const ETCD_PORT = 2379;
const ETCD_PREFIX = "/chaos";
/** What the second manager has of the first before it starts. */
const SHARED_FILES = ["cluster-id", "ca-key.pem", "token-key.pem"];
const FIRST_NODE_PORT = 7700;
const START_TRIES = 5;
const COLLECTOR_PORT = 7900;
/** Longer than a node that is killed takes to come back. */
const NODE_GRACE = "5s";
export const DRAIN_MS = 2000;
const USERS = ["ada", "bo", "cy"];
/** What managers that share an etcd say of themselves. */
const LEADS = "leads from now on";
const STANDS_BY = "stands by: ";

/** The executables that take part, by the version that they are. */
export type Executables = Readonly<Record<string, string>>;

export interface ClusterOptions {
  scratch: Scratch;
  executables: Executables;
  /** Of all. */
  version: string;
  /** A second manager stands by, over an etcd of the run's own. */
  standby: boolean;
  /** The machine's clock is set in the run. */
  setsClock: boolean;
  /** How many times longer than others the machine takes for all: it has half of the nodes then. */
  slowness: number;
}

export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly journal: Journal;
  readonly networks: Networks;
  /** One, or two that share the etcd. */
  readonly managers: readonly Actor[];
  readonly etcd: Actor | undefined;
  /** First those at home, of which there are so many. */
  readonly nodes: readonly Actor[];
  readonly nodesAtHome: number;
  readonly clients: Actor[] = [];
  readonly versions: readonly string[];
  readonly #executables: Record<string, string> = {};
  /** Where each node, and the manager, has its state; of nodes also the cache. */
  readonly disks: Readonly<Record<string, Disk>>;
  readonly #collector: Actor;
  readonly #secrets: { ca: string; admin: string; users: string[]; joins: string[] } = {
    ...{ ca: "", admin: "", users: [], joins: [] },
  };
  readonly #module: string;
  readonly #machineStartedMs: number | undefined;
  readonly #slowness: number;
  #clients = 0;

  private constructor(options: ClusterOptions) {
    const { scratch, executables, standby, setsClock, slowness } = options;
    this.#slowness = slowness;
    this.nodesAtHome = slowness > 1 ? 1 : NODES_EACH;
    this.folder = scratch.join("history");
    const folders = ["exe", "functions", "logs", "disks"];
    for (const name of [this.folder, ...folders.map((each) => scratch.join(each))]) mkdirSync(name);
    this.versions = Object.keys(executables);
    for (const [version, path] of Object.entries(executables)) {
      // By a name of its own each of its processes is known for one of this run.
      const own = scratch.join(`exe/rfaas-${version}`);
      linkOrCopy(path, own);
      this.#executables[version] = own;
    }
    this.#machineStartedMs = setsClock ? startOfMachineMs() : undefined;
    this.journal = new Journal(this.folder, "conductor", this.#machineStartedMs);
    this.networks = new Networks(this.nodesAtHome);
    const sources = join(import.meta.dir, "functions");
    cpSync(sources, scratch.join("functions"), { recursive: true });
    const effects = join(this.folder, "effects.jsonl");
    writeFileSync(effects, "");
    writeFileSync(
      scratch.join("functions/place.ts"),
      `export const EFFECTS: string = ${JSON.stringify(effects)};
       export const MACHINE_STARTED_MS: number | undefined = ${this.#machineStartedMs};
       export const COLLECTOR = { hostname: "${HOME}", port: ${COLLECTOR_PORT} };`,
    );
    this.#module = scratch.join("functions/functions.ts");
    const actor = (name: string, ready: string): Actor => {
      const env = placesOf(scratch.join(name));
      return new Actor({
        ...{ name, env, ready, slowness },
        folder: scratch.join("logs"),
        journal: this.journal,
      });
    };
    this.managers = MANAGERS.slice(0, standby ? 2 : 1).map((name) => actor(name, "managing at"));
    this.etcd = standby ? actor("etcd", "ready to serve client requests") : undefined;
    this.nodes = Array.from({ length: 2 * this.nodesAtHome }, (_, i) => actor(`n${i}`, "serving "));
    this.#collector = actor("collector", "collecting");
    const names = [...this.managers, ...this.nodes].map(({ name }) => name);
    this.disks = Object.fromEntries(
      names.map((name) => [name, new Disk(scratch.join(`disks/${name}`))]),
    );
    this.#scratch = scratch;
  }
  readonly #scratch: Scratch;

  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    try {
      await cluster.#begin(options.version);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  async #begin(version: string): Promise<void> {
    const collector = join(import.meta.dir, "machine", "collector.ts");
    const effects = join(this.folder, "effects.jsonl");
    const command = [process.execPath, collector, HOME, String(COLLECTOR_PORT), effects];
    await this.#collector.start([...this.networks.home, ...command]);
    for (const user of USERS)
      this.#secrets.users.push(await this.#createToken(version, user, "client,read"));
    this.#secrets.admin = await this.#createToken(version, "root", "admin");
    if (this.etcd) await this.startEtcd();
    await this.startManager(0, version);
    if (this.etcd) {
      const [own, others] = [this.ledgers[0]!, this.ledgers[1]!];
      mkdirSync(others, { mode: 0o700 });
      for (const file of SHARED_FILES) copyFileSync(join(own, file), join(others, file));
      await this.startManager(1, version);
      const address = join(own, "manager-address");
      await until(() => readFileSync(address, "utf8").includes(","), "nodes are told of both");
    }
    for (const [i] of this.nodes.entries()) {
      const token = await this.#tool(version, ["node", "join-token", "--json", ...this.#state]);
      const { manager, joinToken } = JSON.parse(token) as { manager: string; joinToken: string };
      this.#secrets.ca = manager;
      this.#secrets.joins.push(joinToken);
      // A machine may be so slow at first that the manager does not wait for the greeting.
      for (let tries = 0; tries < START_TRIES && !this.nodes[i]!.running; tries++)
        await this.startNode(i, version);
    }
  }

  get #state(): string[] {
    return ["--state", this.ledgers[0]!];
  }

  /** Each manager's state. */
  get ledgers(): string[] {
    return this.managers.map(({ name }) => join(this.disks[name]!.path, "state"));
  }

  async #createToken(version: string, user: string, scope: string): Promise<string> {
    const args = ["token", "create", "--user", user, "--scope", scope, ...this.#state];
    return (await this.#tool(version, args)).trim();
  }

  async #tool(version: string, args: readonly string[]): Promise<string> {
    const executable = this.#executables[version]!;
    const { exitCode, stdout, stderr } = await rfaas(args, { executable });
    if (exitCode !== 0) throw new Error(`rfaas ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  async startManager(i: number, version: string): Promise<void> {
    const actor = this.managers[i]!;
    this.journal.say({ e: "start", who: actor.name, version });
    const port = MANAGER_PORTS[i]!;
    const args = ["--listen", `${HOME}:${port}`, "--http", `${HOME}:${port + 1}`];
    await actor.start([
      ...[...this.networks.home, this.#executables[version]!, "manager"],
      ...["--state", this.ledgers[i]!, ...args, "--node-grace", NODE_GRACE],
      ...(this.etcd ? ["--registry", `etcd://${HOME}:${ETCD_PORT}${ETCD_PREFIX}`] : []),
    ]);
  }

  async startEtcd(): Promise<void> {
    const url = (port: number): string => `http://${HOME}:${port}`;
    await this.etcd!.start([
      ...[...this.networks.home, "etcd", "--data-dir", this.#scratch.join("disks/etcd")],
      ...["--listen-client-urls", url(ETCD_PORT), "--advertise-client-urls", url(ETCD_PORT)],
      ...["--listen-peer-urls", url(ETCD_PORT + 1)],
      ...["--initial-advertise-peer-urls", url(ETCD_PORT + 1)],
      ...["--initial-cluster", `default=${url(ETCD_PORT + 1)}`],
    ]);
  }

  /** Which of the managers says last that it leads, and how often one has begun to; undefined where none does, or the only one does not say so. */
  leader(): { actor: Actor | undefined; terms: number } {
    const said = this.managers.map((actor) => ({ actor, ...actor.lastSaid(LEADS, STANDS_BY) }));
    return {
      actor: said.find(({ last }) => last === LEADS)?.actor,
      terms: said.reduce((sum, { count }) => sum + count, 0),
    };
  }

  isAway(node: number): boolean {
    return node >= this.nodesAtHome;
  }

  async startNode(node: number, version: string): Promise<void> {
    this.journal.say({ e: "start", who: `n${node}`, version });
    const away = this.isAway(node);
    const host = away ? this.networks.addressAway(node - this.nodesAtHome) : HOME;
    const network = away ? this.networks.away(node - this.nodesAtHome) : this.networks.home;
    const disk = this.disks[`n${node}`]!.path;
    await this.nodes[node]!.start([
      ...[...network, this.#executables[version]!, "serve", "--name", `n${node}`],
      ...["--listen", `${host}:${FIRST_NODE_PORT + node}`, "--cores", "4", "--memory", "1GiB"],
      ...["--manager", this.#secrets.ca, "--join", this.#secrets.joins[node]!],
      ...["--state", join(disk, "state"), "--cache", join(disk, "cache")],
      ...["--drain", `${DRAIN_MS / 1000}`, "--allow-network"],
      // Functions of the nodes at home write to a file; away they are in rooms.
      ...(away ? [] : ["--sandbox", "none", "--no-require-isolation"]),
    ]);
  }

  /** One more client, of the kind whose turn it is: of this version, where the one before has not got it. */
  async startClient(given: string, seed: number): Promise<Actor> {
    const names = Object.keys(KINDS);
    const kind = names[this.#clients % names.length]!;
    const client = ++this.#clients;
    const version = Object.hasOwn(NEW_KINDS, kind) ? this.versions.at(-1)! : given;
    const config: ClientConfig = {
      ...{ client, version, seed, folder: this.folder, module: this.#module },
      ...{ kind, manager: this.#secrets.ca, machineStartedMs: this.#machineStartedMs },
      slowness: this.#slowness,
    };
    const name = `client-${client}`;
    const actor = new Actor({
      ...{ name, client, folder: this.#scratch.join("logs"), journal: this.journal },
      env: {
        ...placesOf(this.#scratch.join("client")),
        RFAAS_TOKEN: this.#secrets.users[client % USERS.length]!,
      },
    });
    this.clients.push(actor);
    const program = join(import.meta.dir, "clients", "client.ts");
    const command = [this.#executables[version]!, "run", program, JSON.stringify(config)];
    await actor.start([...this.networks.home, ...command]);
    return actor;
  }

  /** As a batch system takes a node and gives it back; returns what the command has said where it failed. */
  async operate(version: string, args: readonly string[]): Promise<string | undefined> {
    const [command, ...rest] = [...this.networks.home, this.#executables[version]!, "node"];
    const pin = /\?ca=[^,\s]+/.exec(this.#secrets.ca)![0];
    const urls = this.managers.map((_, i) => `https://${HOME}:${MANAGER_PORTS[i]! + 1}${pin}`);
    const http = ["--http", urls.join(",")];
    const env = { ...placesOf(this.#scratch.join("client")), RFAAS_TOKEN: this.#secrets.admin };
    const { exitCode, stderr } = await rfaas([...rest, ...args, ...http], {
      ...{ executable: command!, env },
    });
    return exitCode === 0 ? undefined : stderr;
  }

  /** What etcd still has of bills, of each lease what was written last. */
  async billsInEtcd(): Promise<EtcdBill[]> {
    const program = join(import.meta.dir, "machine", "etcd-bills.ts");
    const args = [process.execPath, program, `http://${HOME}:${ETCD_PORT}`, ETCD_PREFIX];
    const child = Bun.spawn([...this.networks.home, ...args], { stdout: "pipe" });
    const text = await new Response(child.stdout).text();
    return text === "" ? [] : (JSON.parse(text) as EtcdBill[]);
  }

  /** All that the run has started and that runs. */
  get actors(): Actor[] {
    return [...this.managers, ...this.nodes, ...this.clients];
  }

  async endOthers(): Promise<void> {
    await this.#collector.kill();
    await this.etcd?.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const actor of this.actors) await actor.kill();
    await this.endOthers();
    for (const disk of Object.values(this.disks)) disk[Symbol.dispose]();
    this.networks[Symbol.dispose]();
  }
}

/** Where an actor has its files, which are no one else's. */
function placesOf(folder: string): Record<string, string> {
  const place = (name: string): string => {
    const path = join(folder, name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  };
  return {
    ...{ TMPDIR: place("tmp"), XDG_RUNTIME_DIR: place("run"), XDG_CACHE_HOME: place("cache") },
    ...{ XDG_STATE_HOME: place("state"), XDG_CONFIG_HOME: place("config") },
  };
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}
