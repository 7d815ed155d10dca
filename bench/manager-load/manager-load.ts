/**
 * One manager under a cluster's worth of nodes and clients: `bun bench/manager-load/manager-load.ts [--nodes N] [--clients N] [--rounds N]`.
 * Nodes and clients are two processes that talk to the real manager over loopback. Times of different processes are
 * compared, so it first checks by messages that their clocks agree.
 */
import { countOf } from "../../src/base/units.ts";
import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { cpuTimeNs, environment } from "../environment.ts";
import { summarize } from "../statistics.ts";
import { Helper, Manager } from "./processes.ts";
import { clientsRole, nodesRole } from "./roles.ts";
import { type ClientsTask, type NodesTask, type StateName, nowMs } from "./tasks.ts";

const REST_MS = 5_000;
/** How long the manager stands still while all nodes come; longer than connecting takes. */
const PAUSE_MS = 1_000;
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

/** Connections that the kernel dropped because an accept queue was full, on the whole machine. */
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

  console.error(
    `${countOf(nodeCount, "node")}, ${countOf(clientCount, "client")}, ${countOf(rounds, "round")}`,
  );
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
    `manager: storm ${inStorm.manager_cpu_ms} ms of CPU (${inStorm.manager_cpu_percent} % of a core), the clients' process ${inStorm.clients_cpu_ms} ms, ${countOf(inStorm.listen_overflows, "connection")} not queued at first`,
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
        command: `bun bench/manager-load/manager-load.ts ${process.argv.slice(2).join(" ")}`,
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
