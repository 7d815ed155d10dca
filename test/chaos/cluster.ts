/** The processes of a run: a manager, nodes at home and away, and clients, with files and networks of the run's own. */
import { copyFileSync, cpSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rfaas } from "../support/executable.ts";
import type { Scratch } from "../support/scratch.ts";
import { Actor } from "./machine/actor.ts";
import type { ClientConfig } from "./clients/client.ts";
import { Disk } from "./machine/disks.ts";
import { Journal } from "./journal.ts";
import { KINDS } from "./clients/kinds.ts";
import { HOME, Networks } from "./machine/network.ts";

export const NODES_AT_HOME = 2;
export const NODES_AWAY = 2;
const NODES = NODES_AT_HOME + NODES_AWAY;
export const CLIENTS = 12;
const MANAGER_PORT = 7800;
const HTTP_PORT = 7801;
const FIRST_NODE_PORT = 7700;
const COLLECTOR_PORT = 7900;
/** Longer than a node that is killed takes to come back. */
const NODE_GRACE = "5s";
export const DRAIN_MS = 2000;
const USERS = ["ada", "bo", "cy"];

/** The executables that take part, by the version that they are. */
export type Executables = Readonly<Record<string, string>>;

export interface ClusterOptions {
  scratch: Scratch;
  executables: Executables;
  /** Of all. */
  version: string;
}

export class Cluster implements AsyncDisposable {
  readonly folder: string;
  readonly journal: Journal;
  readonly networks: Networks;
  readonly manager: Actor;
  readonly nodes: readonly Actor[];
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
  #clients = 0;

  private constructor({ scratch, executables }: ClusterOptions) {
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
    this.journal = new Journal(this.folder, "conductor");
    this.networks = new Networks(NODES_AWAY);
    const sources = join(import.meta.dir, "functions");
    cpSync(sources, scratch.join("functions"), { recursive: true });
    const effects = join(this.folder, "effects.jsonl");
    writeFileSync(effects, "");
    writeFileSync(
      scratch.join("functions/place.ts"),
      `export const EFFECTS: string = ${JSON.stringify(effects)};
       export const COLLECTOR = { hostname: "${HOME}", port: ${COLLECTOR_PORT} };`,
    );
    this.#module = scratch.join("functions/functions.ts");
    const actor = (name: string, ready: string): Actor => {
      const env = placesOf(scratch.join(name));
      return new Actor({
        ...{ name, env, ready },
        folder: scratch.join("logs"),
        journal: this.journal,
      });
    };
    this.manager = actor("manager", "managing at");
    this.nodes = Array.from({ length: NODES }, (_, i) => actor(`n${i}`, "serving "));
    this.#collector = actor("collector", "collecting");
    const names = [this.manager, ...this.nodes].map(({ name }) => name);
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
    await this.startManager(version);
    for (const [i] of this.nodes.entries()) {
      const token = await this.#tool(version, ["node", "join-token", "--json", ...this.#state]);
      const { manager, joinToken } = JSON.parse(token) as { manager: string; joinToken: string };
      this.#secrets.ca = manager;
      this.#secrets.joins.push(joinToken);
      await this.startNode(i, version);
    }
  }

  get #state(): string[] {
    return ["--state", this.ledger];
  }

  /** The manager's state. */
  get ledger(): string {
    return join(this.disks["manager"]!.path, "state");
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

  async startManager(version: string): Promise<void> {
    this.journal.say({ e: "start", who: "manager", version });
    const args = ["--listen", `${HOME}:${MANAGER_PORT}`, "--http", `${HOME}:${HTTP_PORT}`];
    await this.manager.start([
      ...[...this.networks.home, this.#executables[version]!, "manager", ...this.#state, ...args],
      ...["--node-grace", NODE_GRACE],
    ]);
  }

  isAway(node: number): boolean {
    return node >= NODES_AT_HOME;
  }

  async startNode(node: number, version: string): Promise<void> {
    this.journal.say({ e: "start", who: `n${node}`, version });
    const away = this.isAway(node);
    const host = away ? this.networks.addressAway(node - NODES_AT_HOME) : HOME;
    const network = away ? this.networks.away(node - NODES_AT_HOME) : this.networks.home;
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

  /** One more client, of the kind whose turn it is; its place is taken by the next one of the same kind when it ends. */
  async startClient(version: string, seed: number): Promise<Actor> {
    const names = Object.keys(KINDS);
    const client = ++this.#clients;
    const config: ClientConfig = {
      ...{ client, version, seed, folder: this.folder, module: this.#module },
      ...{ kind: names[client % names.length]!, manager: this.#secrets.ca },
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
    const http = ["--http", `https://${HOME}:${HTTP_PORT}${/\?ca=\S+/.exec(this.#secrets.ca)![0]}`];
    const env = { ...placesOf(this.#scratch.join("client")), RFAAS_TOKEN: this.#secrets.admin };
    const { exitCode, stderr } = await rfaas([...rest, ...args, ...http], {
      ...{ executable: command!, env },
    });
    return exitCode === 0 ? undefined : stderr;
  }

  /** All that the run has started and that runs. */
  get actors(): Actor[] {
    return [this.manager, ...this.nodes, ...this.clients];
  }

  async endCollector(): Promise<void> {
    await this.#collector.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const actor of [...this.actors, this.#collector]) await actor.kill();
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
