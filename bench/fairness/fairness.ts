/**
 * How fairly clients that wait for room are served: `bun bench/fairness/fairness.ts [--clients 20] [--cores 3] [--nodes 1] [--processes 1] [--seconds 60]
 * [--hold 300] [--weights 1] [--workers 1] [--json]`.
 *
 * A manager and nodes are started that share the cores; each client asks for a lease, holds it for so many milliseconds, gives it back, and
 * asks again. Clients belong in turn to users with these weights, and ask in turn for so many workers. It runs from the sources, unless
 * `RFAAS_EXECUTABLE` names an executable.
 */
import type { Subprocess } from "bun";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { environment } from "../environment.ts";
import type { Got, Task } from "./tasks.ts";

const SOURCES = join(import.meta.dir, "..", "..");
const { RFAAS_EXECUTABLE } = process.env;
const RFAAS = RFAAS_EXECUTABLE
  ? [RFAAS_EXECUTABLE]
  : [process.argv[0]!, join(SOURCES, "src", "main.ts")];
/** Processes are started and connected by then. */
const READY_MS = 2_000;
const START_LIMIT_MS = 60_000;

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "20" },
    cores: { type: "string", default: "3" },
    nodes: { type: "string", default: "1" },
    processes: { type: "string", default: "1" },
    seconds: { type: "string", default: "60" },
    hold: { type: "string", default: "300" },
    weights: { type: "string", default: "1" },
    workers: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const clients = Number(values.clients);
const weights = values.weights.split(",").map(Number);
const workers = values.workers.split(",").map(Number);

await using ending = new AsyncDisposableStack();
const folder = mkdtempSync(join(tmpdir(), "rfaas-fairness-"));
ending.defer(() => rmSync(folder, { recursive: true, force: true }));

async function run(...args: string[]): Promise<string> {
  const child = Bun.spawn([...RFAAS, ...args], { stdout: "pipe", stderr: "inherit" });
  const text = await child.stdout.text();
  if ((await child.exited) !== 0) throw new Error(`rfaas ${args.join(" ")} has failed`);
  return text.trim();
}

/** Starts a command that goes on; resolves to what its `pattern` has found in what it says. */
async function start(pattern: RegExp, args: string[], token?: string): Promise<string> {
  const env = { ...process.env, ...(token === undefined ? {} : { RFAAS_TOKEN: token }) };
  const child = Bun.spawn([...RFAAS, ...args], { stdout: "ignore", stderr: "pipe", env });
  ending.defer(async () => {
    child.kill();
    await child.exited;
  });
  const found = Promise.withResolvers<string>();
  const late = setTimeout(() => found.reject(new Error("it does not start")), START_LIMIT_MS);
  void (async () => {
    let text = "";
    for await (const part of child.stderr.pipeThrough(new TextDecoderStream())) {
      text = (text + part).slice(-10_000);
      const match = pattern.exec(text);
      if (match) found.resolve(match[1]!);
    }
    found.reject(new Error(`rfaas ${args[0]} has ended: ${text}`));
  })();
  try {
    return await found.promise;
  } finally {
    clearTimeout(late);
  }
}

const state = join(folder, "state");
const token = (user: string, ...more: string[]): Promise<string> =>
  run("token", "create", "--user", user, "--state", state, ...more);
const tokens = await Promise.all(
  weights.map((weight, i) =>
    token(`user-${i}`, ...(weight === 1 ? [] : ["--weight", String(weight)])),
  ),
);
const listen = ["--listen", "127.0.0.1:0", "--state", state];
const manager = await start(/ at (127\.0\.0\.1:\d+)/, ["manager", ...listen]);
const nodes = Number(values.nodes);
const cores = Array.from({ length: nodes }, (_, i) =>
  Math.floor((Number(values.cores) + i) / nodes),
);
await Promise.all(
  cores.map(async (count, i) => {
    const name = `node-${i}`;
    const own = ["--name", name, "--cores", String(count), "--state", join(folder, name)];
    const shown = await token(name, "--scope", "node", "--node", name);
    const args = ["serve", "--listen", "127.0.0.1:0", "--manager", manager, ...own];
    await start(/(knows this node)/, [...args, "--prewarm", String(count)], shown);
  }),
);

const fromMs = Date.now() + READY_MS;
const untilMs = fromMs + 1000 * Number(values.seconds);
const processes = Number(values.processes);
const ofClient = Array.from({ length: clients }, (_, i) => i);
const got: Got[] = [];
await Promise.all(
  Array.from({ length: processes }, async (_, number) => {
    const own = ofClient.filter((i) => i % processes === number);
    const task: Task = {
      ...{ manager, holdMs: Number(values.hold), fromMs, untilMs },
      tokens: own.map((i) => tokens[i % tokens.length]!),
      workers: own.map((i) => workers[i % workers.length]!),
    };
    const seen = await ask(task);
    for (const [at, i] of own.entries()) got[i] = seen[at]!;
  }),
);

async function ask(task: Task): Promise<Got[]> {
  const answer = Promise.withResolvers<Got[]>();
  const child: Subprocess = Bun.spawn([process.argv[0]!, join(import.meta.dir, "client.ts")], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc: (message: Got[] | { failed: string }) => {
      if ("failed" in message) answer.reject(new Error(message.failed));
      else answer.resolve(message);
    },
    onExit: () => answer.reject(new Error("a process of clients has ended")),
  });
  child.send(task);
  try {
    return await answer.promise;
  } finally {
    child.disconnect();
  }
}

const sum = (all: readonly number[]): number => all.reduce((a, b) => a + b, 0);
const rounded = (value: number): number => Number(value.toFixed(3));
/** 1 when all have the same; as little as one over their number when one has all. */
const jain = (all: readonly number[]): number =>
  sum(all) ** 2 / (all.length * sum(all.map((one) => one * one)));

const heldCoreMs = sum(got.map(({ coreMs }) => coreMs));
const users = weights.map((weight, user) => {
  const own = got.filter((_, i) => i % weights.length === user);
  const shares = own.map(({ coreMs }) => coreMs / workers[0]!);
  const waits = own.flatMap(({ waitsMs }) => waitsMs);
  const meanMs = sum(waits) / waits.length;
  return {
    ...{ user: `user-${user}`, weight, clients: own.length },
    grants: sum(own.map(({ grants }) => grants)),
    jain: rounded(jain(shares)),
    share: rounded(sum(own.map(({ coreMs }) => coreMs)) / heldCoreMs),
    due: rounded(weight / sum(weights)),
    mean_wait_ms: rounded(meanMs),
    longest_wait_ms: rounded(Math.max(...waits)),
    longest_over_mean: rounded(Math.max(...waits) / meanMs),
  };
});
const coreMsOfAll = Number(values.cores) * (untilMs - fromMs);
const result = { environment: environment(), used: rounded(heldCoreMs / coreMsOfAll), users };
if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
else {
  const names = Object.keys(users[0]!) as (keyof (typeof users)[number])[];
  const lines = [names, ...users.map((user) => names.map((name) => String(user[name])))];
  const text = lines.map((cells) => cells.map((cell) => cell.padStart(18)).join("")).join("\n");
  process.stdout.write(`${text}\ncores were leased for ${result.used} of the time\n`);
}
