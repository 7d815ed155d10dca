/** The messages about a lease to its client and to the node's log. */
import { canBeWritten } from "../../../ffi/descriptors.ts";
import { countOf } from "../../base/units.ts";
import type { Clock } from "../../base/clock.ts";
import { describeEnd, describeRevoking } from "../../lease/book.ts";
import type { EndReason, LeaseState } from "../../lease/lease.ts";
import type { FieldsOf } from "../../protocol/declare.ts";
import type { Allocate, Lost } from "../../protocol/lease-messages.ts";
import type { ErrorRecord } from "../../protocol/failed.ts";
import type { Answer } from "../../control/requests.ts";
import type { Loaded } from "../../protocol/host-messages.ts";
import type { LogLine, ProgressReport } from "../../protocol/module-report.ts";
import { rightLeftMs } from "../admission/identity.ts";
import { lossOf } from "./lease-ends.ts";
import type { Usage } from "../../protocol/usage.ts";
import type { LeaseEvents, LeasedHost } from "./leased-host.ts";
import { News } from "../host/news.ts";
import { BoundedLog } from "../output/bounded-log.ts";
import type { OutputReader } from "../output/line-cutter.ts";
import { RULES, type Rule } from "../results/denied.ts";
import type { Client } from "./reception.ts";

/** The agent's standard error, to which its log goes. */
const LOG_FD = 2;

/** How the lease came to have a host. */
interface Start {
  prewarmed: boolean;
  kept: boolean;
  startedNs: number;
  hostReadyNs: number;
  /** How long the request waited for room. */
  waitedMs: number;
  clock: Clock;
}

/** Whose lease it is. */
interface Ordered {
  lease: number;
  client: Client;
  request: Allocate;
  /** To the request. */
  answer: Answer<typeof Allocate>;
  /** What people call it. */
  module: string;
  /** Where the client brings its data; undefined where that is the node's own port, or it brings none. */
  dataPort: number | undefined;
  log(level: "info" | "warn", message: string): void;
  /** Where what its functions print goes in the place of the log. */
  output: OutputReader | undefined;
}

/** Further listeners, called besides. */
type Besides = Pick<LeaseEvents, "granted" | "revoking" | "finished">;

export class LeaseNotes implements LeaseEvents {
  readonly #client: Client;
  readonly #request: Allocate;
  readonly #answer: Answer<typeof Allocate>;
  readonly #module: string;
  readonly #dataPort: number | undefined;
  readonly #log: (level: "info" | "warn", message: string) => void;
  readonly #start: Start;
  readonly #besides: Besides;
  readonly reader: OutputReader;
  /** What its functions say in the log; undefined where that has no bound. */
  readonly #bounded: BoundedLog | undefined;
  #news: News | undefined;
  /** Rules that its functions have met. */
  readonly #ruled = new Set<Rule>();

  constructor(
    { lease, client, request, answer, module, dataPort, log, output }: Ordered,
    start: Start,
    besides: Besides,
  ) {
    this.#client = client;
    this.#dataPort = dataPort;
    this.#request = request;
    this.#answer = answer;
    this.#module = module;
    this.#log = log;
    this.#start = start;
    this.#besides = besides;
    const name = `lease ${lease} of ${client.identity.user}`;
    const way = {
      hasRoom: () => canBeWritten(LOG_FD),
      printed: (text: string) => log("info", `${name} prints: ${text}`),
      missing: (text: string) => log("warn", `${name}: ${text}`),
    };
    this.#bounded = output ? undefined : new BoundedLog(way, start.clock);
    this.reader = output ?? this.#bounded!;
  }

  granted(lease: LeasedHost, nonce: Uint8Array, loaded: Loaded): void {
    const { exports, loadNs } = loaded;
    const { workers, slots, ttlMs } = this.#request;
    const { prewarmed, kept, startedNs, hostReadyNs, waitedMs } = this.#start;
    this.#log(
      "info",
      `lease ${lease.id} granted: ${countOf(workers, "worker")} for ${this.#module}`,
    );
    this.#answer.send({
      lease: lease.id,
      nonce,
      hostPid: lease.host.pid,
      exports,
      cpus: [...lease.cpus],
      slots,
      polling: lease.shape.polling,
      spinNs: lease.shape.spinNs,
      listening: lease.listeningAt,
      ...(this.#dataPort === undefined ? {} : { dataPort: this.#dataPort }),
      ...(lease.encrypted ? { encrypted: true } : {}),
      expiresInMs: Math.min(ttlMs, rightLeftMs(this.#client.identity)),
      prewarmed,
      kept,
      heapBytes: lease.heapBytes,
      ...(waitedMs === 0 ? {} : { waitedMs }),
      grantNs: this.#start.clock.nowNs() - startedNs,
      spawnNs: hostReadyNs - startedNs,
      loadNs,
    });
    this.#besides.granted(lease, nonce, loaded);
  }

  denied(_: LeasedHost, code: string, message: string, error?: ErrorRecord): void {
    this.#answer.fail(code, message, error);
  }

  revoking(lease: LeasedHost, state: LeaseState): void {
    if (state.phase !== "revoking") return;
    const { deadlineNs, revokedBy: by } = state;
    const deadlineInMs = Math.max(0, (deadlineNs - this.#start.clock.nowNs()) / 1e6);
    const message = describeRevoking(by);
    this.#client.connection.send({
      ...{ t: "revoking", lease: lease.id, deadlineInMs, message },
      ...(by === undefined ? {} : { cause: by }),
    });
    // A worker that begins no more calls cannot be told to go on, as it may when the token is renewed.
    if (by !== "token-expires") lease.host.tell({ t: "ends-in", leftMs: deadlineInMs });
    this.#besides.revoking(lease, state);
  }

  extended(lease: LeasedHost, state: LeaseState): void {
    if (state.phase !== "active" && state.phase !== "revoking") return;
    const expiresInMs = Math.max(0, (state.expiresAtNs - this.#start.clock.nowNs()) / 1e6);
    this.#client.connection.send({ t: "goes-on", lease: lease.id, expiresInMs });
  }

  lost(lease: LeasedHost, reason: EndReason): void {
    const message = lossOf(reason);
    this.#log("warn", `lease ${lease.id} lost: ${message}`);
    this.#client.connection.send({ t: "lost", lease: lease.id, message, ...causeOf(reason) });
  }

  workerLost(lease: LeasedHost, worker: number, message: string): void {
    const text = `lease ${lease.id}, worker ${worker}: ${message}`;
    // A host may say so of one worker without end.
    if (this.#bounded?.admits(text.length) ?? true) this.#log("warn", text);
    this.#client.connection.send({ t: "worker-lost", lease: lease.id, worker, message });
  }

  logged(lease: LeasedHost, line: LogLine): void {
    const serious = line.level === "warn" || line.level === "error";
    const text = describeLine(lease.id, line);
    if (this.#bounded?.admits(text.length) ?? true) this.#log(serious ? "warn" : "info", text);
    this.#newsOf(lease).logged(line);
  }

  progressed(lease: LeasedHost, report: ProgressReport): void {
    this.#newsOf(lease).progressed(report);
  }

  ruled(lease: LeasedHost, said: string): void {
    const rule = RULES.find((one) => one === said);
    if (rule === undefined || this.#ruled.has(rule)) return;
    this.#ruled.add(rule);
    const { user } = this.#client.identity;
    this.#log("warn", `lease ${lease.id} of ${user}: its room has refused its functions ${rule}`);
  }

  notKept(lease: LeasedHost, left: string): void {
    this.#log("info", `lease ${lease.id}: its host is not kept, since functions left ${left}`);
  }

  finished(lease: LeasedHost, usage: Usage, reason: EndReason, atMs: number): void {
    this.#bounded?.tell();
    this.#log("info", `lease ${lease.id} ended: ${describeEnd(reason)}`);
    // The client withdrew its request before the lease was granted.
    this.#answer.fail("RFAAS_NODE_LOST", `no lease: ${describeEnd(reason)}`);
    this.#besides.finished(lease, usage, reason, atMs);
  }

  #newsOf({ id: lease }: LeasedHost): News {
    const { connection } = this.#client;
    return (this.#news ??= new News({
      log: (line) => connection.offer({ t: "log", lease, line }),
      progress: (report) => connection.offer({ t: "progress", lease, report }),
      whenRoom: (listener) => connection.whenRoom(listener),
    }));
  }
}

/** Ends that another lease in its place would have as well. */
const FINAL: ReadonlySet<EndReason["kind"]> = new Set(["over-budget", "token-expired"]);

/** What a program can tell apart: the signal that killed the host, or the bound that was crossed. */
function causeOf(reason: EndReason): Pick<FieldsOf<typeof Lost>, "signal" | "excess" | "final"> {
  if (FINAL.has(reason.kind)) return { final: true };
  if (reason.kind === "host-died" && reason.signal !== null) return { signal: reason.signal };
  if (reason.kind !== "over-limit") return {};
  const { what, used, bound, files = 0, sockets = 0 } = reason;
  const parts = { ...(files > 0 && { files }), ...(sockets > 0 && { sockets }) };
  return { excess: { what, used, bound, ...parts } };
}

/** A function's text on one line. */
function describeLine(lease: number, { worker, level, message, data, dropped }: LogLine): string {
  const missing =
    dropped === 0
      ? ""
      : ` (${dropped === 1 ? "1 line before it was" : `${dropped} lines before it were`} too many)`;
  const text = JSON.stringify(message).slice(1, -1);
  return `lease ${lease}, worker ${worker}, ${level}: ${text}${data === null ? "" : ` ${data}`}${missing}`;
}
