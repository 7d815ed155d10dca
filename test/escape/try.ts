/** Trying attempts, and naming what came of each. */
import { join } from "node:path";
import { type Invoker, type Lease, RfaasError } from "../../src/index.ts";
import type { ServedNode } from "../support/executable.ts";
import type { Attempt } from "./attempt.ts";
import { FUNCTIONS, type Stage } from "./stage.ts";

type Kind = Attempt["kind"];

const OUTPUT_BYTES = 64;
const DEADLINE_MS = 30_000;
const LOST = ["RFAAS_WORKER_LOST", "RFAAS_LEASE_LOST"];

/** `reached` or `nothing`, or the code of the error that has stopped it; of what says EACCES or EPERM in its own words, that one. */
async function outcomeOf(run: () => Promise<string>): Promise<string> {
  try {
    return await run();
  } catch (error) {
    const { code, message } = error as { code?: string | number; message: string };
    const errno = /\b(?:EACCES|EPERM)\b/.exec(message)?.[0];
    if (errno !== undefined) return errno;
    return error instanceof RfaasError || code !== undefined ? String(code) : message;
  }
}

/** Something on a lease of its own, of a client of its own. */
export async function onLease<T>(
  stage: Stage,
  node: ServedNode,
  module: string,
  run: (lease: Lease) => Promise<T>,
): Promise<T> {
  const rf = await stage.client(node);
  await using lease = await rf.allocate(module, { memory: "1MiB", polling: "warm" });
  return await run(lease);
}

/** What an attacker has to know. */
export interface Known {
  readonly facts: Readonly<Record<string, string>>;
  readonly library: string;
  client(node: { address: string }): Promise<Invoker>;
}

/** Tries one attempt after another, all of one kind on one lease, and on another one where that was lost. */
export class Attacker implements AsyncDisposable {
  readonly #stage: Known;
  readonly #node: { address: string };
  readonly #leases = new Map<Kind, Promise<Lease>>();

  constructor(stage: Known, node: { address: string }) {
    this.#stage = stage;
    this.#node = node;
  }

  async try({ name, kind }: Attempt): Promise<string> {
    const lease = await this.#leaseFor(kind);
    const outcome = await outcomeOf(() => this.#call(lease, kind, name));
    if (LOST.includes(outcome)) {
      this.#leases.delete(kind);
      await lease.release();
    }
    return outcome;
  }

  #leaseFor(kind: Kind): Promise<Lease> {
    const held = this.#leases.get(kind);
    if (held) return held;
    const module = kind === "native" ? this.#stage.library : join(FUNCTIONS, "reaches.ts");
    const taken = this.#stage
      .client(this.#node)
      .then((rf) => rf.allocate(module, { memory: "1MiB", polling: "warm" }));
    this.#leases.set(kind, taken);
    return taken;
  }

  async #call(lease: Lease, kind: Kind, name: string): Promise<string> {
    const { facts } = this.#stage;
    const limit = { deadlineMs: DEADLINE_MS };
    if (kind === "TypeScript") return String(await lease.function(name)(facts, limit));
    const pairs = Object.entries(facts).map(([key, value]) => `${key}=${value}`);
    const words = new TextEncoder().encode([name, ...pairs].map((word) => `${word}\0`).join(""));
    const input = lease.input(Uint8Array, words.length);
    input.set(words);
    const output = lease.output(Uint8Array, OUTPUT_BYTES);
    try {
      const bytes = await lease.submit("attempt", input, output, limit);
      return new TextDecoder().decode(output.slice(0, bytes));
    } finally {
      lease.free(input);
      lease.free(output);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const lease of this.#leases.values()) await (await lease).release();
  }
}
