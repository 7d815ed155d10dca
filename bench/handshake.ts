/**
 * What it takes longer to connect and lease over TCP, in clear and by TLS, than over shared memory:
 * `bun bench/handshake.ts [--rounds 15] [--json]`.
 *
 * All leases are of one node at a port of this machine, whose hosts wait. A round has one of each way: on a connection that is made
 * for it, on one that stands, and as the first that a program does. What goes first changes; medians are of differences within a round.
 * The node has come to rest before each. It runs from the sources, unless `RFAAS_EXECUTABLE` names an executable.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { selfCommand } from "../src/base/process.ts";
import { type Invoker, invoker } from "../src/index.ts";
import { selfSigned } from "../src/trust/certificates.ts";
import { keyOf, nodeUri } from "../src/trust/judge.ts";
import { environment } from "./environment.ts";
import { busyUsers } from "./machine/busy.ts";
import { median, quartiles } from "./statistics.ts";

const WAYS = ["shm", "tcp", "tcp, TLS"] as const;
type Way = (typeof WAYS)[number];
const STARTS = ["new connection", "standing connection", "first of a program"] as const;
type Start = (typeof STARTS)[number];

interface Took {
  connectMs: number;
  leaseMs: number;
}

/** Hosts that wait before each lease, and how long the node has had nothing to do then. */
const HOSTS = 2;
const REST_MS = 60;
const DAY_MS = 24 * 60 * 60 * 1000;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "15" },
    json: { type: "boolean", default: false },
    /** Of the programs that it starts: how they lease, and where. */
    first: { type: "string" },
    node: { type: "string" },
  },
});
const fabricOf = (way: Way) => (way === "shm" ? "shm" : "tcp");

async function lease(rf: Invoker): Promise<number> {
  const startedMs = performance.now();
  const lease = await rf.allocate("rfaas:echo", { memory: "1MiB" });
  const tookMs = performance.now() - startedMs;
  await lease.release();
  return tookMs;
}

async function connectAndLease(way: Way, node: string): Promise<Took> {
  const startedMs = performance.now();
  await using rf = await invoker({ node, fabric: fabricOf(way) });
  const connectMs = performance.now() - startedMs;
  return { connectMs, leaseMs: await lease(rf) };
}

/** A node at a port of this machine, with a key of its own. */
class Node {
  readonly #folder = mkdtempSync(join(tmpdir(), "rfaas-handshake-"));
  #child: ReturnType<typeof Node.serve> | undefined;
  #address = "";
  #key = "";

  static async start(): Promise<Node> {
    const node = new Node();
    const certificate = join(node.#folder, "certificate.pem");
    const own = await selfSigned({ commonName: "node", uri: nodeUri("node"), validMs: DAY_MS });
    writeFileSync(certificate, own.chain + "\n" + own.key, { mode: 0o600 });
    node.#key = keyOf(new X509Certificate(own.chain));
    node.#child = Node.serve(certificate, node.#folder);
    const serving = Promise.withResolvers<string>();
    void node
      .#read(serving.resolve)
      .then((said) => serving.reject(new Error(`the node does not serve: ${said}`)));
    node.#address = await serving.promise;
    return node;
  }

  /** Reads what the node says to its end, since a full pipe would block it. */
  async #read(serves: (address: string) => void): Promise<string> {
    let said = "";
    for await (const part of this.#child!.stderr.pipeThrough(new TextDecoderStream())) {
      said += part;
      const [, address] = / at (127\.0\.0\.1:\d+) over /.exec(said) ?? [];
      if (address !== undefined) serves(address);
    }
    return said;
  }

  static serve(certificate: string, folder: string) {
    const where = ["--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", certificate];
    const offer = ["--cores", "2", "--memory", "256MiB", "--prewarm", String(HOSTS)];
    return Bun.spawn(selfCommand(["serve", ...where, ...offer]), {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, XDG_STATE_HOME: folder, XDG_CACHE_HOME: folder },
    });
  }

  addressFor(way: Way): string {
    return way === "tcp, TLS" ? `rfaas://${this.#address}?key=${this.#key}` : this.#address;
  }

  async stop(): Promise<void> {
    this.#child?.kill();
    await this.#child?.exited;
    rmSync(this.#folder, { recursive: true });
  }
}

/** In a program of its own, which has done nothing else. */
async function firstOfProgram(way: Way, node: string): Promise<Took> {
  const args = [import.meta.path, "--first", way, "--node", node];
  const child = Bun.spawn([process.argv[0]!, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const said = await child.stdout.text();
  if ((await child.exited) !== 0) throw new Error("the program that was to lease has failed");
  return JSON.parse(said) as Took;
}

async function untilAtRest(looking: Invoker): Promise<void> {
  for (;;) {
    const { prewarmedHosts, leases } = await looking.status();
    if (prewarmedHosts === HOSTS && leases === 0) break;
    await Bun.sleep(5);
  }
  await Bun.sleep(REST_MS);
}

interface Row {
  start: Start;
  way: Way;
  connect_ms: number;
  lease_ms: number;
  both_ms: number;
  /** Medians over rounds of what both take longer than over shared memory in the same round, and their quartiles. */
  above_shm_ms: number;
  above_shm_ms_quartiles: [number, number];
}

async function measure(rounds: number): Promise<Row[]> {
  const node = await Node.start();
  await using ending = new AsyncDisposableStack();
  ending.defer(() => node.stop());
  const open = async (way: Way): Promise<Invoker> =>
    ending.use(await invoker({ node: node.addressFor(way), fabric: fabricOf(way) }));
  const looking = await open("shm");
  const kinds: { start: Start; way: Way; take(): Promise<Took>; took: Took[] }[] = [];
  for (const way of WAYS) {
    const address = node.addressFor(way);
    const standing = await open(way);
    const takes: Record<Start, () => Promise<Took>> = {
      "new connection": () => connectAndLease(way, address),
      "standing connection": async () => ({ connectMs: 0, leaseMs: await lease(standing) }),
      "first of a program": () => firstOfProgram(way, address),
    };
    for (const start of STARTS) kinds.push({ start, way, take: takes[start], took: [] });
  }
  // The first two rounds load and first run the code of both sides.
  for (let round = -2; round < rounds; round++)
    for (let i = 0; i < kinds.length; i++) {
      const { take, took } = kinds[(i + Math.max(0, round)) % kinds.length]!;
      await untilAtRest(looking);
      const each = await take();
      if (round >= 0) took.push(each);
    }
  const bothMs = ({ connectMs, leaseMs }: Took) => connectMs + leaseMs;
  return kinds.map(({ start, way, took }) => {
    const shm = kinds.find((kind) => kind.start === start && kind.way === "shm")!.took;
    const above = took.map((each, i) => bothMs(each) - bothMs(shm[i]!));
    return {
      ...{ start, way },
      connect_ms: rounded(median(took.map(({ connectMs }) => connectMs))),
      lease_ms: rounded(median(took.map(({ leaseMs }) => leaseMs))),
      both_ms: rounded(median(took.map(bothMs))),
      above_shm_ms: rounded(median(above)),
      above_shm_ms_quartiles: quartiles(above).map(rounded) as [number, number],
    };
  });
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}

if (values.first !== undefined && values.node !== undefined) {
  const took = await connectAndLease(values.first as Way, values.node);
  process.stdout.write(JSON.stringify(took));
} else {
  for (const { name, cores } of await busyUsers())
    process.stderr.write(
      `the machine is busy, and the figures will tell of it: ${name}, ${cores.toFixed(2)} cores\n`,
    );
  const rounds = Number(values.rounds);
  const rows = await measure(rounds);
  if (values.json) {
    const result = { benchmark: "handshake", rounds, rows, environment: environment() };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } else
    for (const { start, way, connect_ms, lease_ms, both_ms, ...above } of rows)
      process.stdout.write(
        `${start.padEnd(20)} ${way.padEnd(9)} connect ${connect_ms.toFixed(2).padStart(6)} ms  lease ${lease_ms.toFixed(2).padStart(6)} ms  both ${both_ms.toFixed(2).padStart(6)} ms  above shm ${above.above_shm_ms.toFixed(2).padStart(6)} ms (${above.above_shm_ms_quartiles.map((each) => each.toFixed(2)).join(" to ")})\n`,
      );
}
