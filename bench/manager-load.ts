/**
 * One manager under a cluster's worth of nodes and clients: `bun bench/manager-load.ts [--nodes N] [--clients N] [--rounds N]`.
 * Nodes and clients are two processes that talk to the real manager over loopback. Times of different processes are
 * compared, so it first checks by messages that their clocks agree.
 */
import { type Socket, type Subprocess, connect } from "bun";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseAddress } from "../src/control/address.ts";
import { ManagerSubscription } from "../src/client/cluster/manager-link.ts";
import { Connection } from "../src/control/connection.ts";
import { ManagerLink } from "../src/executor/accounts/manager-link.ts";
import {
  HEARTBEAT_INTERVAL_MS,
  MANAGER_PROTOCOL_VERSION,
  type ManagerToNode,
  type NodeInfo,
  type ToManager,
  managerToNodeVocabulary,
} from "../src/protocol/manager-messages.ts";
import { selfCommand } from "../src/base/process.ts";
import { cpuTimeNs, environment } from "./environment.ts";
import { summarize } from "./statistics.ts";

const CORES = 64;
const MEMORY_BYTES = 256 * 1024 ** 3;
const REST_MS = 5_000;
/** How long the manager stands still while all nodes come; longer than connecting takes. */
const PAUSE_MS = 1_000;
const CLOCK_CHECKS = 100;
const MAX_CLOCK_ERROR_MS = 0.5;
/** Nothing that is measured takes longer, unless it is lost. */
const LIMIT_MS = 60_000;

const STATES = {
  joined: (node: NodeInfo) => node.state === "up" && node.freeCores === CORES,
  full: (node: NodeInfo) => node.state === "up" && node.freeCores === 0,
  draining: (node: NodeInfo) => node.state === "draining",
  down: (node: NodeInfo) => node.state === "down",
};
type StateName = keyof typeof STATES;

/** What the benchmark asks of its two processes; each answers once. */
type NodesTask =
  | { task: "clock" }
  | { task: "storm"; count: number }
  | { task: "joined" | "full" | "draining" | "cut" | "hush"; name: string };
type ClientsTask =
  | { task: "clock" }
  | { task: "subscribe"; count: number }
  /** Answers when it watches these nodes, or so many of the storm's; the times come with {@link Seen}. */
  | { task: "watch"; names: readonly string[] | number; state: StateName };
interface Answer {
  atMs: number;
}
/** When each client knew. */
interface Seen {
  seenAtMs: number[];
}

const { values: options } = parseArgs({
  options: {
    nodes: { type: "string", default: "2000" },
    clients: { type: "string", default: "200" },
    rounds: { type: "string", default: "20" },
    role: { type: "string" },
    manager: { type: "string", default: "" },
  },
});
const roles = { nodes: nodesRole, clients: clientsRole };
if (options.role === undefined) await measure();
else roles[options.role as keyof typeof roles](options.manager);

/** The same in all processes; `process.hrtime` is not, it begins with each of them. */
function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

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

function nodeName(index: number): string {
  return `node-${index}`;
}

function announcement(name: string) {
  return {
    name,
    instance: `${name}-1`,
    address: "10.0.0.1:7700",
    cores: CORES,
    memoryBytes: MEMORY_BYTES,
    fabrics: ["shm", "verbs"],
    machine: `machine-of-${name}`,
    token: null,
  };
}

function nodesRole(manager: string): void {
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

function clientsRole(manager: string): void {
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

/** One of the two processes, asked one thing at a time. */
class Helper<Task extends object> {
  readonly #child: Subprocess;
  #answer = Promise.withResolvers<Answer>();
  #seen = Promise.withResolvers<Seen>();

  constructor(role: keyof typeof roles, manager: string) {
    this.#child = Bun.spawn(
      [process.argv[0]!, import.meta.path, "--role", role, "--manager", manager],
      {
        stdio: ["ignore", "inherit", "inherit"],
        ipc: (message: Answer | Seen) => {
          if ("seenAtMs" in message) this.#seen.resolve(message);
          else this.#answer.resolve(message);
        },
      },
    );
  }

  get pid(): number {
    return this.#child.pid;
  }

  async ask(task: Task): Promise<number> {
    this.#answer = Promise.withResolvers();
    this.#child.send(task);
    return (await within(this.#answer.promise, JSON.stringify(task))).atMs;
  }

  /** Throws when an answer seems to come before its question or after its receipt. Also waits until the process runs. */
  async checkClock(task: Task): Promise<void> {
    for (let i = 0; i < CLOCK_CHECKS; i++) {
      const askedMs = nowMs();
      const atMs = await this.ask(task);
      const error = Math.max(askedMs - atMs, atMs - nowMs());
      if (error > MAX_CLOCK_ERROR_MS)
        throw new Error(`the clocks of two processes differ by ${error.toFixed(1)} ms at least`);
    }
  }

  /** Asks for a watch; what it saw comes later. */
  async watch(task: Task): Promise<() => Promise<number[]>> {
    this.#seen = Promise.withResolvers();
    await this.ask(task);
    return async () => (await within(this.#seen.promise, JSON.stringify(task))).seenAtMs;
  }

  /** As a machine that loses its power does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => limit.reject(new Error(`not within ${LIMIT_MS} ms: ${what}`)),
    LIMIT_MS,
  );
  try {
    return await Promise.race([promise, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}

class Manager {
  readonly address: string;
  readonly #state = mkdtempSync(join(tmpdir(), "rfaas-bench-"));
  readonly #child: Subprocess<"ignore", "ignore", "pipe">;

  private constructor(port: number) {
    this.address = `127.0.0.1:${port}`;
    this.#child = Bun.spawn(
      selfCommand(["manager", "--listen", this.address, "--state", this.#state]),
      { stdio: ["ignore", "ignore", "pipe"] },
    );
  }

  static async start(): Promise<Manager> {
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    probe.stop(true);
    const manager = new Manager(probe.port);
    const serving = Promise.withResolvers<void>();
    void manager.#read(() => serving.resolve());
    await within(serving.promise, "the manager serves");
    return manager;
  }

  /** Whether it stands still, as a process on a machine that swaps does. */
  pause(still: boolean): void {
    this.#child.kill(still ? "SIGSTOP" : "SIGCONT");
  }

  get cpuNs(): number {
    return cpuTimeNs(this.#child.pid) ?? 0;
  }

  get rssBytes(): number {
    return statusBytes(this.#child.pid, "VmRSS");
  }

  get peakRssBytes(): number {
    return statusBytes(this.#child.pid, "VmHWM");
  }

  /** The part of one core that it uses over a time. */
  async share<T>(work: () => Promise<T>): Promise<{ result: T; share: number; cpuMs: number }> {
    const [cpuNs, startMs] = [this.cpuNs, nowMs()];
    const result = await work();
    const cpuMs = (this.cpuNs - cpuNs) / 1e6;
    return { result, share: cpuMs / (nowMs() - startMs), cpuMs };
  }

  async stop(): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
    rmSync(this.#state, { recursive: true, force: true });
  }

  /** To its end: a pipe that is full would stop it. */
  async #read(serving: () => void): Promise<void> {
    let text = "";
    for await (const part of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      if (text.length < 4096) text += part;
      if (text.includes("managing at")) serving();
    }
  }
}

function statusBytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)![1]) * 1024;
}

/** Connections that the kernel could not queue for whoever was to accept them, on the whole machine. */
function listenOverflows(): number {
  const [names, counts] = readFileSync("/proc/net/netstat", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  return Number(counts![names!.indexOf("ListenOverflows")]);
}

async function measure(): Promise<void> {
  const [nodeCount, clientCount, rounds] = [options.nodes, options.clients, options.rounds].map(
    Number,
  ) as [number, number, number];
  const manager = await Manager.start();
  const nodes = new Helper<NodesTask>("nodes", manager.address);
  const clients = new Helper<ClientsTask>("clients", manager.address);
  await nodes.checkClock({ task: "clock" });
  await clients.checkClock({ task: "clock" });
  const alone = manager.rssBytes;
  await clients.ask({ task: "subscribe", count: clientCount });

  console.error(`${nodeCount} nodes, ${clientCount} clients, ${rounds} rounds`);
  const overflows = listenOverflows();
  const clientsCpuNs = cpuTimeNs(clients.pid) ?? 0;
  const storm = await manager.share(async () => {
    const seen = await clients.watch({ task: "watch", names: nodeCount, state: "joined" });
    const startMs = await nodes.ask({ task: "storm", count: nodeCount });
    return (await seen()).map((atMs) => atMs - startMs);
  });
  const inStorm = {
    known_ms: distribution("join storm, all known", storm.result),
    manager_cpu_ms: Math.round(storm.cpuMs),
    manager_cpu_percent: percent(storm.share),
    clients_cpu_ms: Math.round(((cpuTimeNs(clients.pid) ?? 0) - clientsCpuNs) / 1e6),
    listen_overflows: listenOverflows() - overflows,
    peak_rss_bytes: manager.peakRssBytes,
  };
  const rest = await manager.share(() => Bun.sleep(REST_MS));

  const latencies = new Map<string, number[]>();
  const act = async (label: string, name: string, state: StateName, task: NodesTask) => {
    const seen = await clients.watch({ task: "watch", names: [name], state });
    const startMs = await nodes.ask(task);
    const all = (await seen()).map((atMs) => atMs - startMs);
    latencies.set(label, [...(latencies.get(label) ?? []), ...all]);
  };
  for (let round = 0; round < rounds; round++) {
    const [name, silent] = [`cut-${round}`, `silent-${round}`];
    await act("join", name, "joined", { task: "joined", name });
    await act("fill", name, "full", { task: "full", name });
    await act("drain", name, "draining", { task: "draining", name });
    await act("cut", name, "down", { task: "cut", name });
    if (round % 4 > 0) continue;
    await act("join", silent, "joined", { task: "joined", name: silent });
    await act("silent", silent, "down", { task: "hush", name: silent });
  }
  const changes = Object.fromEntries(
    [...latencies].map(([label, all]) => [label, distribution(label, all)]),
  );

  const allDown = await clients.watch({ task: "watch", names: nodeCount, state: "down" });
  const killedAtMs = nowMs();
  await nodes.kill();
  const allDownMs = distribution(
    "all nodes killed at once",
    (await allDown()).map((atMs) => atMs - killedAtMs),
  );

  const overflowsBefore = listenOverflows();
  const others = new Helper<NodesTask>("nodes", manager.address);
  await others.checkClock({ task: "clock" });
  const allBack = await clients.watch({ task: "watch", names: nodeCount, state: "joined" });
  manager.pause(true);
  await others.ask({ task: "storm", count: nodeCount });
  await Bun.sleep(PAUSE_MS);
  const resumedAtMs = nowMs();
  manager.pause(false);
  const allBackMs = distribution(
    "all back, after a pause",
    (await allBack()).map((atMs) => atMs - resumedAtMs),
  );
  const paused = { known_ms: allBackMs, listen_overflows: listenOverflows() - overflowsBefore };
  await others.kill();

  const memory = { alone, now: manager.rssBytes, peak: manager.peakRssBytes };
  await clients.kill();
  await manager.stop();

  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  console.error(
    `manager: storm ${inStorm.manager_cpu_ms} ms of CPU (${inStorm.manager_cpu_percent} % of a core), the clients' process ${inStorm.clients_cpu_ms} ms, ${inStorm.listen_overflows} connections not queued at first`,
  );
  console.error(`manager: at rest ${percent(rest.share)} % of a core`);
  console.error(
    `manager: memory ${mib(memory.alone)} alone, ${mib(inStorm.peak_rss_bytes)} at most in the storm, ${mib(memory.now)} at the end`,
  );
  process.stdout.write(
    `${JSON.stringify({
      parameters: { nodes: nodeCount, clients: clientCount, rounds },
      environment: {
        ...environment(),
        clock: "wall clock, checked between the processes",
        command: `bun bench/manager-load.ts ${process.argv.slice(2).join(" ")}`,
      },
      load_average: loadavg()[0],
      storm: inStorm,
      rest: { manager_cpu_percent: percent(rest.share) },
      changes_ms: changes,
      all_killed_ms: allDownMs,
      storm_after_pause: paused,
      manager_rss_bytes: memory,
    })}\n`,
  );
}

function percent(share: number): number {
  return Number((share * 100).toFixed(1));
}

function distribution(label: string, samples: readonly number[]) {
  const { p50, p99, max } = summarize(Float64Array.from(samples));
  const [p50_ms, p99_ms, max_ms] = [p50, p99, max].map((value) => Number(value.toFixed(1)));
  console.error(
    `${label.padEnd(26)} median ${p50_ms} ms, p99 ${p99_ms} ms, max ${max_ms} ms (${samples.length} samples)`,
  );
  return { p50: p50_ms, p99: p99_ms, max: max_ms, samples: samples.length };
}
