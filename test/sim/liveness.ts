/**
 * What must come about once nothing fails any more: whatever was begun ends within a bound, and nothing is left of it. Most of what goes
 * wrong here breaks no rule while it happens: a request that waits for ever, a bill that nobody sends again, a node that drains for good.
 */
import type { Roles } from "./faults.ts";
import type { ExecutorNode } from "./node.ts";
import { S, type World, violated } from "./world.ts";

/**
 * The longest that anything may take to end by itself: a node that is stopped hears of a request after 4 s, has it in line for 3 s, and then
 * holds what it offers to a client that does not answer for 18 s, of which the last are in {@link RELEASE_NS}.
 */
export const SETTLE_NS = 24 * S;
/** From when everybody has released to when everything is back. */
export const RELEASE_NS = 4 * S;
/** A node's heartbeat, and what watches over the silence of its manager. */
const NODE_PERIODIC = 2;

/** Each request was granted, refused or withdrawn, and clients and nodes agree on the leases that are left. */
export function checkEnded({ nodes, clients }: Roles): void {
  for (const { name, requests } of clients)
    if (requests.open > 0) violated(`a request of ${name} has not ended`);
  const alive = new Set(nodes.flatMap((node) => node.leaseNames()));
  const held = new Set(clients.flatMap((client) => client.leaseNames()));
  for (const name of alive) if (!held.has(name)) violated(`nobody holds ${name}, which is alive`);
  for (const name of held) if (!alive.has(name)) violated(`${name} is held and is not alive`);
}

/** What users hold, and nothing else, is counted. */
export function checkCounted({ quotas }: World, { manager }: Roles): void {
  if (quotas.operator.counts) quotas.check((user) => manager.holdingOf(user));
}

/** Everybody has released what was left: leases are over and billed, capacity is back, and the manager and clients know it. */
export function checkNothingLeft(world: World, { nodes, clients, manager }: Roles): void {
  const { witness, schedule } = world;
  const sinceNs = schedule.nowNs - RELEASE_NS;
  for (const node of nodes) {
    const info = manager.node(node.name);
    if (!node.alive) {
      if (info?.state === "up")
        violated(`${node.name} is dead, and the manager believes that it is up`);
      continue;
    }
    if (node.leaving) violated(`${node.name} leaves, and does not go`);
    checkIdle(node);
    if (info?.state !== "up" || info.instance !== node.instance)
      violated(`${node.name} is up, and the manager believes that it is ${info?.state}`);
    if (info.freeCores !== node.cores)
      violated(`${node.name} is free, and the manager knows of ${info.freeCores} cores`);
    checkTimers(node, sinceNs, NODE_PERIODIC);
  }
  for (const client of clients) {
    client.checkView();
    if (client.alive) checkTimers(client, sinceNs, client.subscribes ? 1 : 0);
  }
  checkCounted(world, { nodes, clients, manager });
  witness.checkRows(manager.ledger, manager.ledger.keys());
  witness.checkTotals(manager.ledger, manager.ledger.users());
  witness.checkSettled(manager.ledger);
}

/** Nothing is held, nobody waits, and there is nothing more to hand in. */
function checkIdle(node: ExecutorNode): void {
  const { name } = node;
  if (node.leaseCount > 0) violated(`${name} still has ${node.leaseCount} leases`);
  if (node.hostCount > 0) violated(`${name} still has ${node.hostCount} hosts`);
  if (node.waiting > 0) violated(`${name} keeps ${node.waiting} in line, and nobody waits`);
  if (node.offers > 0) violated(`${name} holds ${node.offers} offers, and nobody wants them`);
  if (node.free.cores !== node.cores || node.free.memoryBytes !== node.memoryBytes)
    violated(`${name} has not got everything back`);
  if (!node.settled) violated(`${name} has not handed in its bills`);
  if (node.refuses) violated(`${name} grants no leases, and the ledger can be written`);
}

interface Timed {
  name: string;
  clock: { pendingSince(virtualNs: number): number; periodic: number };
}

function checkTimers({ name, clock }: Timed, sinceNs: number, periodic: number): void {
  const left = clock.pendingSince(sinceNs);
  if (left > 0) violated(`${name} has ${left} timers for what is over`);
  if (clock.periodic !== periodic)
    violated(`${name} has ${clock.periodic} periodic timers instead of ${periodic}`);
}
