/** Of what faults are made: whom they meet, what is done to them, and how they start again. */
import { readFileSync, readdirSync } from "node:fs";
import type { Random } from "../sim/random.ts";
import { type Actor, signalTo } from "./machine/actor.ts";
import { type Cluster, DRAIN_MS } from "./cluster.ts";

/** A node that is told to stop waits for its leases, then ends. */
export const END_LIMIT_MS = DRAIN_MS + 20_000;

/** Longer than the lease of one that leads. */
export const TAKE_OVER_MS = 6000;
export const START_TRIES = 20;
export const START_PAUSE_MS = 500;

export interface FaultContext {
  cluster: Cluster;
  random: Random;
  /** Which version the next one that starts is. */
  version(who: "manager" | "node" | "client"): string;
  note(fault: string, target: string, detail?: string): void;
  /** Keeps other faults from it until `work` is done. */
  alone(target: string, work: () => Promise<void>): Promise<void>;
}

export type FaultRun = (context: FaultContext) => Promise<void>;

export const pause = (random: Random): Promise<void> => Bun.sleep(random.between(20, 1500));

/** A node that nothing else is done to. */
export async function onNode(
  { cluster, random, alone }: FaultContext,
  run: (node: Actor, i: number) => Promise<void>,
): Promise<void> {
  const i = random.between(0, cluster.nodes.length - 1);
  const node = cluster.nodes[i]!;
  await alone(node.name, () => run(node, i));
}

/** Where there is one. */
export async function onEtcd(
  { cluster: { etcd }, alone }: FaultContext,
  run: (etcd: Actor) => Promise<void>,
): Promise<void> {
  if (etcd) await alone(etcd.name, () => run(etcd));
}

export async function restartNode(context: FaultContext, i: number): Promise<void> {
  const { cluster, random, version } = context;
  await pause(random);
  await untilStarted(cluster.nodes[i]!, () => cluster.startNode(i, version("node")));
}

/** Where another one stands by, it has time to take over, or not. */
export async function restartManager(context: FaultContext, i: number): Promise<void> {
  const { cluster, random, version } = context;
  await pause(random);
  if (cluster.etcd && random.chance(0.5)) await Bun.sleep(TAKE_OVER_MS);
  await untilStarted(cluster.managers[i]!, () => cluster.startManager(i, version("manager")));
}

/** A manager that nothing else is done to: mostly the one that leads. */
export async function onManager(
  { cluster, random, alone }: FaultContext,
  run: (manager: Actor, i: number, leads: string) => Promise<void>,
): Promise<void> {
  const { actor } = cluster.leader();
  const manager = (random.chance(0.7) ? actor : undefined) ?? random.pick(cluster.managers);
  const leads = manager === actor ? "which leads" : "";
  await alone(manager.name, () => run(manager, cluster.managers.indexOf(manager), leads));
}

/** As a service manager does it: what does not start, since its disk is full, is started again. */
export async function untilStarted(actor: Actor, start: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < START_TRIES; tries++) {
    await start();
    if (actor.running) return;
    await Bun.sleep(START_PAUSE_MS);
  }
}

/** It was told to stop: it must, and starts again. */
export async function endsAndRestarts(
  context: FaultContext,
  node: Actor,
  i: number,
): Promise<void> {
  if (!(await node.endsWithin(END_LIMIT_MS))) {
    context.cluster.journal.say({ e: "stuck", who: node.name, what: "did not end when told to" });
    await node.kill();
  }
  await restartNode(context, i);
}

export const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** One of the processes that a node has started. */
export const hostOf = (node: Actor, random: Random): number | undefined => {
  const hosts = node.processes.slice(1);
  return hosts.length === 0 ? undefined : random.pick(hosts);
};

export const client = ({ cluster, random }: FaultContext): Actor | undefined => {
  const running = cluster.clients.filter((each) => each.running);
  return running.length === 0 ? undefined : random.pick(running);
};

/** Holds processes still for a while. */
export async function stopped(
  pids: readonly number[],
  random: Random,
  mostMs = 3000,
): Promise<void> {
  for (const pid of pids) signalTo(pid, "SIGSTOP");
  await Bun.sleep(random.between(50, mostMs));
  for (const pid of pids) signalTo(pid, "SIGCONT");
}

/** So many descriptors more than it has, for a while. */
export async function starved(pid: number, random: Random): Promise<void> {
  const open = readdirSync(`/proc/${pid}/fd`).length;
  const before = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "utf8"))![1];
  const limit = (soft: string): unknown =>
    Bun.spawnSync(["prlimit", "--pid", String(pid), `--nofile=${soft}:`]);
  limit(String(open + random.between(0, 6)));
  await Bun.sleep(random.between(200, 3000));
  limit(before!);
}
