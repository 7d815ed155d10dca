/** The connected nodes: handles their announcements, reports and requests, and sends the manager's requests to them. */
import { countOf } from "../../base/units.ts";
import type { Clock } from "../../base/clock.ts";
import { type Handlers, RequestRefused, answering } from "../../control/requests.ts";
import {
  type Announce,
  type CountersOffer,
  type ManagerToNode,
  type NodeSays,
  type UsageReport,
  inParts,
  nodeToManager,
} from "../../protocol/manager-messages.ts";
import type { Revocation } from "../../protocol/tokens/revocation.ts";
import type { LostLeases } from "../ledger/lost-leases.ts";
import type { NodeLedger } from "../ledger/node-ledger.ts";
import type { RemoteCounters } from "../ledger/remote-counters.ts";
import { Plausible } from "../ledger/plausible.ts";
import type { UsageIntake } from "../ledger/usage-intake.ts";
import type { Session } from "../nodes/known/entry.ts";
import { nodeProblem } from "../nodes/known/node.ts";
import type { Registry } from "../nodes/registry.ts";
import type { Proof } from "../../control/reach/reach.ts";
import type { TokenCheck } from "../tokens/keys.ts";
import type { AddressChecks } from "./address-checks.ts";
import { type NodePeer, type NodeRole, type Peer, describePeer } from "./peer.ts";
import { COUNTS_QUOTAS, type QuotaDesk } from "./quota-desk.ts";
import type { Reception } from "./reception.ts";

/** A node that has only bills to hand in may think for so long. */
const SETTLING_SILENCE_MS = 30_000;

export interface NodeDeskOptions {
  registry: Registry;
  tokens: TokenCheck;
  reception: Reception;
  /** Of the certificate of the nodes' authority; undefined where there is none. */
  ca: string | undefined;
  intake: UsageIntake;
  counters: RemoteCounters;
  /** Undefined where leases of lost nodes do not end. */
  lost: LostLeases | undefined;
  /** Undefined where the manager has no network to look at. */
  checks: AddressChecks | undefined;
  /** Undefined where no user has a limit that the manager keeps. */
  quotas: QuotaDesk | undefined;
  /** Which tokens count no more. */
  revoked(): Revocation[];
  log(level: "info" | "warn", message: string): void;
  clock: Clock;
}

export class NodeDesk {
  readonly #options: NodeDeskOptions;
  readonly #nodes = new Map<Session, NodePeer>();
  /** Nodes that are out of the cluster, and hand in the bills that they have left. */
  readonly #settling = new Set<NodePeer>();
  /** Nodes that wait for what the manager finds at their address. */
  readonly #looking = new Set<NodePeer>();
  readonly #plausible: Plausible;
  readonly #answer = answering<typeof nodeToManager, NodePeer>(nodeToManager, this.#handlers(), {
    // The table answers what nodes ask, and nothing else.
    send: (answer, { connection }) => connection.send(answer as ManagerToNode),
  });

  constructor(options: NodeDeskOptions) {
    this.#options = options;
    this.#plausible = new Plausible(options.log, options.clock);
  }

  /** What counters of a node's memory say, as far as that can be. */
  plausible(reports: readonly UsageReport[]): UsageReport[] {
    return reports.filter((report) => {
      const cores = this.#options.registry.get(report.node)?.cores;
      return cores !== undefined && this.#plausible.of(report.node, cores, [report]).length > 0;
    });
  }

  /** Admits a node and tells it what operators asked of it while it was away, or refuses it with the reason. */
  announced(peer: Peer, announce: Announce): void {
    const { registry, reception, tokens, intake, ca } = this.#options;
    const { name, instance, cores, settling } = announce;
    const nowMs = this.#options.clock.nowMs();
    const role: NodeRole = {
      ...{ kind: "node", name, instance, cores, session: undefined },
      ...{ heardAtMs: nowMs, usageMessages: 0, can: announce.can ?? [] },
    };
    let replaced: Session | undefined;
    if (settling) {
      const problem = nodeProblem(announce);
      if (problem) return reception.refuse(peer, "RFAAS_USAGE", problem);
    } else {
      const answer = registry.announce(announce, nowMs);
      if (answer.kind === "refused") return reception.refuse(peer, answer.code, answer.message);
      ({ session: role.session, replaced } = answer);
    }
    const node = reception.greeted(peer, role);
    this.#options.lost?.came(instance);
    if (role.session === undefined) this.#settle(node);
    else this.#join(node, role.session, replaced, announce);
    peer.connection.send({
      ...{ t: "accepted", name, publicKey: tokens.publicKey },
      ...(this.#options.checks ? { looks: true } : {}),
      ...(this.#options.quotas && !settling ? { can: [COUNTS_QUOTAS] } : {}),
      ...(ca === undefined ? {} : { ca }),
    });
    this.#tellRevoked(node);
    if (!settling) this.#options.quotas?.joined(node);
    const wish = settling ? undefined : this.#wishFor(name, nowMs);
    if (wish) peer.connection.send(wish);
    const { problem } = intake;
    if (problem !== null) peer.connection.send({ t: "ledger", problem });
  }

  /** Does what a node has said, and answers. */
  heard(message: NodeSays, node: NodePeer): void {
    const { role } = node;
    const nowMs = this.#options.clock.nowMs();
    role.heardAtMs = nowMs;
    if (role.session !== undefined) this.#options.registry.heard(role.session, nowMs);
    this.#answer(message, node);
  }

  gone(node: NodePeer): void {
    const { registry, intake, counters, lost, log } = this.#options;
    const { name, instance, session } = node.role;
    this.#settling.delete(node);
    lost?.went(instance);
    counters.forget(node);
    this.#options.quotas?.gone(node);
    const there = registry.sessionOf(name);
    if (session === undefined) {
      if (there === undefined) intake.forget(name);
      return;
    }
    this.#nodes.delete(session);
    if (there === session) log("warn", `node ${name} is lost: its connection ended`);
    registry.lost(session, this.#options.clock.nowMs());
  }

  /** Asks a node to grant no more leases and to end those it has by the deadline. False when there is no such node. */
  drain(name: string, deadlineMs: number): boolean {
    const known = this.#options.registry.drain(name, deadlineMs, this.#options.clock.nowMs());
    this.#nodeOf(name)?.connection.send({ t: "drain", deadlineMs });
    return known;
  }

  /** Lets a node serve again. False when there is no such node. */
  resume(name: string): boolean {
    const known = this.#options.registry.resume(name);
    this.#nodeOf(name)?.connection.send({ t: "resume" });
    return known;
  }

  /** Takes a node out of the cluster; it may still hand in its bills. False when there is no such node. */
  remove(name: string): boolean {
    const node = this.#nodeOf(name);
    const known = this.#options.registry.remove(name);
    if (node) this.#settle(node);
    node?.connection.send({ t: "remove" });
    return known;
  }

  /** Lets a node come again that was taken out, by its name or where it was found. Returns its name; undefined when none was. */
  readmit(text: string): string | undefined {
    const name = this.#options.registry.readmit(text);
    for (const { role, connection } of this.#settling) {
      if (role.name !== name || !role.can.includes("readmit")) continue;
      connection.send({ t: "readmit" });
      connection.close();
    }
    return name;
  }

  /** How the usage of a node's leases comes in. */
  ledgerOf(name: string): NodeLedger {
    const node = this.#nodeOf(name);
    if (!node) return { ledger: "messages", ledgerAdds: 0, usageMessages: 0 };
    const { fabric = "messages", rises } = this.#options.counters.stateOf(node);
    const { usageMessages } = node.role;
    return { ledger: fabric, ledgerAdds: rises, usageMessages };
  }

  /** Says which tokens count no more, to all nodes that can hear it. Returns how many these are, and the names of the others. */
  tellRevoked(): { told: number; deaf: string[] } {
    const deaf = [...this.#nodes.values()].filter((node) => !this.#tellRevoked(node));
    return { told: this.#nodes.size - deaf.length, deaf: deaf.map(({ role }) => role.name) };
  }

  #tellRevoked({ role, connection }: NodePeer): boolean {
    if (!role.can.includes("revoked")) return false;
    const parts = inParts(this.#options.revoked());
    for (const [i, tokens] of parts.entries())
      connection.send({ t: "revoked", tokens, first: i === 0, last: i === parts.length - 1 });
    return true;
  }

  /** Nodes keep their bills while the ledger cannot be written, for a `problem`; null when it can be again. */
  tellLedger(problem: string | null): void {
    for (const { connection } of this.#nodes.values()) connection.send({ t: "ledger", problem });
  }

  /** Ends the connections of nodes that are silent. */
  tick(nowMs: number): void {
    const { registry, log } = this.#options;
    for (const session of registry.tick(nowMs)) {
      const node = this.#nodes.get(session);
      if (node) log("warn", `${describePeer(node)} is lost: it is silent`);
      node?.connection.close();
    }
    for (const { role, connection } of this.#settling)
      if (nowMs - role.heardAtMs > SETTLING_SILENCE_MS) connection.close();
  }

  #handlers(): Handlers<typeof nodeToManager, NodePeer> {
    return {
      capacity: (capacity, { role: { session } }) => {
        if (session === undefined) return;
        this.#options.registry.report(session, capacity, this.#options.clock.nowMs());
      },
      "report-usage": ({ reports }, node, answer) =>
        this.#report(node, reports, () => answer.send({})),
      "get-counters": ({ fabric }, node) => this.#offerCounters(node, fabric),
      "bind-row": ({ row, lease }, node) => {
        const { intake, counters } = this.#options;
        const report = intake.living(node.role.name, lease);
        if (report && counters.bind(node, row, report)) return {};
        throw new RequestRefused("RFAAS_NO_COUNTERS", `lease ${lease} can have no row of counters`);
      },
      "check-address": (proof, node) => this.#look(node, proof),
      reserve: (asked, node) => this.#options.quotas?.reserve(node, asked) ?? {},
      unreserve: ({ lease }, node) => this.#options.quotas?.unreserve(node, lease),
      holdings: (held, node) => this.#options.quotas?.holds(node, held),
      leaving: (_, { role: { name, session }, connection }) => {
        const { registry, log } = this.#options;
        if (session !== undefined) {
          log("info", `node ${name} left`);
          registry.leave(session);
        }
        connection.close();
      },
    };
  }

  #join(
    node: NodePeer,
    session: Session,
    replaced: Session | undefined,
    { name, cores, address }: Announce,
  ): void {
    this.#nodes.set(session, node);
    if (replaced !== undefined) this.#nodes.get(replaced)?.connection.close();
    else
      this.#options.log("info", `node ${name} joined with ${countOf(cores, "core")} at ${address}`);
  }

  /** The message with the wish that came while the node was away. A manager without a wish for it leaves it as it is. */
  #wishFor(name: string, nowMs: number): ManagerToNode | undefined {
    const { registry } = this.#options;
    const deadlineMs = registry.drainLeftMs(name, nowMs);
    if (deadlineMs !== undefined) return { t: "drain", deadlineMs };
    return registry.isResumed(name) ? { t: "resume" } : undefined;
  }

  #settle(node: NodePeer): void {
    const { role } = node;
    if (role.session !== undefined) this.#nodes.delete(role.session);
    role.session = undefined;
    this.#options.counters.forget(node);
    this.#settling.add(node);
  }

  #report(node: NodePeer, reports: readonly UsageReport[], saved: () => void): void {
    const { reception, counters, intake } = this.#options;
    const { role } = node;
    const foreign = reports.find(
      (one) => one.node !== role.name || !one.lease.startsWith(`${role.instance}/`),
    );
    if (foreign)
      return reception.refuse(
        node,
        "RFAAS_PROTOCOL",
        `lease ${foreign.lease} is not of node ${role.name} as it was announced; update the node`,
      );
    role.usageMessages++;
    for (const { lease, endedAtMs } of reports)
      if (endedAtMs !== null) counters.unbind(node, lease);
    const plausible = this.#plausible.of(role.name, role.cores, reports);
    if (role.session !== undefined) this.#options.quotas?.reported(node, plausible);
    intake.add(plausible, saved);
  }

  #offerCounters(node: NodePeer, fabric: string): CountersOffer {
    const { registry, counters } = this.#options;
    const { name, session } = node.role;
    const known = session === undefined ? undefined : registry.get(name);
    const offer = known
      ? counters.offer(node, name, node.way.reachedAt, fabric, known.cores)
      : { reason: "the node is out of the cluster" };
    if ("reason" in offer) throw new RequestRefused("RFAAS_NO_COUNTERS", offer.reason);
    return offer;
  }

  /** Looks for the node at the address that it has announced, for one question of a node at a time. */
  async #look(node: NodePeer, proof: Proof): Promise<{ reached: string }> {
    const { registry, checks, tokens } = this.#options;
    const { name, session } = node.role;
    const announced = session === undefined ? undefined : registry.get(name)?.address;
    if (!checks || announced === undefined || this.#looking.has(node))
      throw new RequestRefused("RFAAS_NOT_LOOKED", "the manager does not look at the address now");
    this.#looking.add(node);
    try {
      const from = { comesFrom: node.way.comesFrom, known: tokens.publicKey !== null };
      const reached = await checks.look(announced, proof, from);
      registry.looked(session!, reached);
      return { reached };
    } finally {
      this.#looking.delete(node);
    }
  }

  /** The connection of a node that is in the cluster. */
  #nodeOf(name: string): NodePeer | undefined {
    const session = this.#options.registry.sessionOf(name);
    return session === undefined ? undefined : this.#nodes.get(session);
  }
}
