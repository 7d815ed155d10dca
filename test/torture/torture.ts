/**
 * Calls of all kinds, for a time, on one lease: on buffers, on structs and on values; synchronous and asynchronous; with deadlines
 * that pass and signals that abort; alone, in bursts, mapped and broadcast; with results of nothing to a mebibyte, into buffers
 * that are taken and freed meanwhile. Each has a value of its own, and every answer is compared.
 */
import { join } from "node:path";
import {
  type AllocateOptions,
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  type Lease,
  OutOfLeaseMemory,
  WorkerLost,
} from "../../src/index.ts";
import { Random } from "../sim/random.ts";
import { fillFrom, nestedFrom } from "./contents.ts";

type Functions = typeof import("./functions.ts");
type TortureLease = Lease<Functions>;

export interface TortureOptions {
  seconds: number;
  seed: number;
  /** Loops that call at the same time. */
  actors?: number;
  /** How the lease differs from two adaptive workers with 256 MiB. */
  lease?: AllocateOptions;
  /** Hears of the first wrong answers. */
  onWrong?: (what: string) => void;
}

/** How calls have ended. */
export interface TortureResult {
  calls: number;
  right: number;
  /** Ended with the error that the function threw for it. */
  failed: number;
  deadlines: number;
  aborts: number;
  /** Lost with their worker, which was replaced because another call did not end: said so, and not repeated. */
  replaced: number;
  /** No room was left in the lease's memory, and the call was not made. */
  refused: number;
  wrong: number;
  /** Ended with an error that none of this explains. */
  lost: number;
  /** Have not ended. */
  endless: number;
  kinds: Record<string, number>;
}

/** What no call takes, on however loaded a machine. */
const END_LIMIT_MS = 60_000;
/** When so many are lost the lease is gone. */
const MAX_LOST = 1000;
const ORDER_BYTES = 12;
const ABORTED = new Error("the torture has aborted this call");

/** Runs calls on a lease of its own. */
export async function torture(rf: Invoker, options: TortureOptions): Promise<TortureResult> {
  await using lease = await rf.allocate<Functions>(join(import.meta.dir, "functions.ts"), {
    workers: 2,
    memory: "256MiB",
    polling: "adaptive",
    ...options.lease,
  });
  const run = new Torture(lease, options);
  return await run.toEnd();
}

interface Request {
  id: number;
  bytes: number;
  ms: number;
  kind: "bytes" | "nested" | "fails";
  numbers: Float64Array<ArrayBuffer>;
}

/** How a call may end besides with its result. */
interface Fate {
  deadlineMs?: number;
  signal?: AbortSignal;
}

class Torture {
  readonly #lease: TortureLease;
  readonly #options: TortureOptions;
  readonly #random: Random;
  readonly #result: TortureResult = {
    calls: 0,
    right: 0,
    failed: 0,
    deadlines: 0,
    aborts: 0,
    replaced: 0,
    refused: 0,
    wrong: 0,
    lost: 0,
    endless: 0,
    kinds: {},
  };
  readonly #kinds: readonly [weight: number, name: string, run: () => Promise<void>][];
  readonly #weights: number;
  /** Handles, made once. */
  readonly #values;
  readonly #valuesLater;
  readonly #records;
  readonly #recordsLater;
  #id = 0;

  constructor(lease: TortureLease, options: TortureOptions) {
    this.#lease = lease;
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#values = lease.function("values");
    this.#valuesLater = lease.function("valuesLater");
    this.#records = lease.function("records");
    this.#recordsLater = lease.function("recordsLater");
    this.#kinds = [
      [30, "invoke on buffers", () => this.#invoke()],
      [20, "submit on buffers", () => this.#submit("raw")],
      [8, "asynchronous on buffers", () => this.#submit("rawLater")],
      [1, "busy on buffers", () => this.#submit("rawBusy")],
      [2, "failing on buffers", () => this.#submit("rawFails")],
      [20, "values", () => this.#value(this.#values)],
      [8, "asynchronous values", () => this.#value(this.#valuesLater)],
      [10, "values on the spot", () => this.#valueOnTheSpot()],
      [10, "structs", () => this.#record(this.#records)],
      [5, "asynchronous structs", () => this.#record(this.#recordsLater)],
      [1, "many on buffers", () => this.#many()],
      [1, "map", () => this.#map()],
      [0.5, "broadcast", () => this.#broadcast()],
    ];
    this.#weights = this.#kinds.reduce((sum, [weight]) => sum + weight, 0);
  }

  async toEnd(): Promise<TortureResult> {
    const end = performance.now() + 1000 * this.#options.seconds;
    const actor = async () => {
      while (performance.now() < end && this.#result.lost < MAX_LOST) await this.#one();
    };
    await Promise.all(Array.from({ length: this.#options.actors ?? 48 }, actor));
    return this.#result;
  }

  async #one(): Promise<void> {
    let left = this.#random.fraction() * this.#weights;
    for (const [weight, name, run] of this.#kinds) {
      left -= weight;
      if (left > 0) continue;
      this.#result.kinds[name] = (this.#result.kinds[name] ?? 0) + 1;
      return await run();
    }
  }

  /** A call of its own identity, from its start to one of its ends. */
  async #call(
    fate: Fate,
    start: (id: number) => PromiseLike<string | undefined>,
    fails = false,
  ): Promise<void> {
    const id = ++this.#id;
    this.#result.calls++;
    const overdue = Promise.withResolvers<"endless">();
    const timer = setTimeout(() => overdue.resolve("endless"), END_LIMIT_MS);
    try {
      const ended = await Promise.race([start(id), overdue.promise]);
      if (ended === "endless") {
        this.#result.endless++;
        this.#tell(`call ${id} has not ended`);
      } else if (ended !== undefined || fails) this.#wrong(id, ended ?? "it should have failed");
      else this.#result.right++;
    } catch (error) {
      this.#ended(id, fate, error, fails);
    } finally {
      clearTimeout(timer);
    }
  }

  #ended(id: number, fate: Fate, error: unknown, fails: boolean): void {
    const result = this.#result;
    if (fails && error instanceof FunctionError && error.code === `E_${id}`) result.failed++;
    else if (fate.deadlineMs !== undefined && error instanceof DeadlineExceeded) result.deadlines++;
    else if (fate.signal?.aborted && error === ABORTED) result.aborts++;
    else if (error instanceof WorkerLost && error.message.includes("was restarted"))
      result.replaced++;
    else if (error instanceof OutOfLeaseMemory) result.refused++;
    else {
      result.lost++;
      this.#tell(`call ${id} ended with ${error}`);
    }
  }

  #wrong(id: number, what: string): void {
    this.#result.wrong++;
    this.#tell(`call ${id}: ${what}`);
  }

  #tell(what: string): void {
    this.#options.onWrong?.(what);
  }

  /** Of any size, but mostly of few bytes. */
  #size(): number {
    return Math.floor(2 ** (this.#random.fraction() * 20.001)) - 1;
  }

  /** How long a function waits: mostly not at all. */
  #ms(): number {
    return this.#random.chance(0.8) ? this.#random.between(0, 3) : this.#random.between(4, 120);
  }

  #fate(): Fate {
    if (this.#random.chance(0.1)) return { deadlineMs: this.#random.between(1, 60) };
    if (!this.#random.chance(0.1)) return {};
    const controller = new AbortController();
    setTimeout(() => controller.abort(ABORTED), this.#random.between(0, 60));
    return { signal: controller.signal };
  }

  #order(id: number, length: number, ms: number): Uint8Array<ArrayBuffer> {
    const input = this.#lease.input(Uint8Array, ORDER_BYTES);
    const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
    view.setUint32(0, id, true);
    view.setUint32(4, length, true);
    view.setUint32(8, ms, true);
    return input;
  }

  /** Runs with buffers of the lease's memory, which are freed at once, whatever came of the call. */
  async #withBuffers(
    id: number,
    length: number,
    ms: number,
    run: (
      input: Uint8Array<ArrayBuffer>,
      output: Uint8Array<ArrayBuffer>,
    ) => number | PromiseLike<number>,
  ): Promise<string | undefined> {
    const input = this.#order(id, length, ms);
    let output;
    try {
      output = this.#lease.output(Uint8Array, length);
      const written = await run(input, output);
      if (written !== length) return `wrote ${written} bytes, not ${length}`;
      return differs(fillFrom(id, new Uint8Array(length)), output);
    } finally {
      this.#lease.free(input);
      if (output) this.#lease.free(output);
    }
  }

  #invoke(): Promise<void> {
    const fate = this.#random.chance(0.05) ? { deadlineMs: this.#random.between(1, 50) } : {};
    return this.#call(fate, (id) =>
      this.#withBuffers(id, this.#size(), 0, (input, output) =>
        this.#lease.invoke("raw", input, output, fate),
      ),
    );
  }

  #submit(name: "raw" | "rawLater" | "rawBusy" | "rawFails"): Promise<void> {
    const fate = this.#fate();
    const ms = name === "rawBusy" ? this.#random.between(0, 30) : this.#ms();
    const start = (id: number) =>
      this.#withBuffers(id, this.#size(), ms, (input, output) =>
        this.#random.chance(0.1)
          ? (this.#lease.trySubmit(name, input, output, fate) ??
            this.#lease.submit(name, input, output, fate))
          : this.#lease.submit(name, input, output, fate),
      );
    return this.#call(fate, start, name === "rawFails");
  }

  #request(id: number): Request {
    const kind = this.#random.pick(["bytes", "bytes", "nested", "fails"] as const);
    const length = this.#random.between(0, 40);
    const numbers = Float64Array.from({ length }, (_, i) => id + i);
    return { id, bytes: this.#size(), ms: this.#ms(), kind, numbers };
  }

  #value(run: (value: Request, options: Fate) => Promise<unknown>): Promise<void> {
    const fate = this.#fate();
    const request = this.#request(this.#id + 1);
    const fails = request.kind === "fails";
    return this.#call(fate, async () => wrongAnswer(request, await run(request, fate)), fails);
  }

  #valueOnTheSpot(): Promise<void> {
    const fate = this.#random.chance(0.05) ? { deadlineMs: this.#random.between(1, 50) } : {};
    const request = this.#request(this.#id + 1);
    const fails = request.kind === "fails";
    return this.#call(
      fate,
      async () => wrongAnswer(request, this.#values.invoke(request, fate)),
      fails,
    );
  }

  #record(
    run: (
      order: { id: number; ms: number; factor: number },
      options: Fate,
    ) => Promise<{ id: number; product: number; row: Float64Array }>,
  ): Promise<void> {
    const fate = this.#fate();
    const factor = this.#random.fraction();
    return this.#call(fate, async (id) => {
      const { product, row, id: whose } = await run({ id, ms: this.#ms(), factor }, fate);
      const right = Float64Array.from({ length: 12 }, (_, i) => id + i * factor);
      if (whose !== id || product !== id * factor) return `got the receipt of ${whose}`;
      return differs(right, row);
    });
  }

  /** A batch, whose calls count one by one. */
  async #many(): Promise<void> {
    const fate = this.#fate();
    const name = this.#random.pick(["raw", "rawLater"] as const);
    const calls = Array.from({ length: this.#random.between(1, 100) }, () => ({
      id: ++this.#id,
      length: this.#size() >>> 6,
    }));
    this.#result.calls += calls.length;
    const inputs: Uint8Array<ArrayBuffer>[] = [];
    const outputs: Uint8Array<ArrayBuffer>[] = [];
    try {
      for (const { id, length } of calls) {
        inputs.push(this.#order(id, length, this.#ms()));
        outputs.push(this.#lease.output(Uint8Array, length));
      }
      const batch = this.#lease.submitMany(name, inputs, outputs, { ...fate, settled: true });
      // Signals stand still while a program waits on the spot.
      const onTheSpot = fate.signal === undefined && this.#random.chance(0.3);
      const bytes = onTheSpot ? batch.get() : await batch;
      const errors = new Map(batch.failures.map(({ index, error }) => [index, error]));
      for (const [i, { id, length }] of calls.entries()) {
        if (errors.has(i)) {
          this.#ended(id, fate, errors.get(i), false);
          continue;
        }
        const wrong =
          bytes[i] === length
            ? differs(fillFrom(id, new Uint8Array(length)), outputs[i]!)
            : `wrote ${bytes[i]} bytes, not ${length}`;
        if (wrong) this.#wrong(id, wrong);
        else this.#result.right++;
      }
    } catch (error) {
      for (const { id } of calls) this.#ended(id, fate, error, false);
    } finally {
      for (const buffer of [...inputs, ...outputs]) this.#lease.free(buffer);
    }
  }

  /** Its calls count one by one. */
  async #map(): Promise<void> {
    const requests = Array.from({ length: this.#random.between(1, 30) }, () => {
      const request = this.#request(++this.#id);
      return { ...request, bytes: request.bytes >>> 4, kind: "bytes" as const };
    });
    this.#result.calls += requests.length;
    const ended = new Set<number>();
    try {
      for await (const outcome of this.#valuesLater.map(requests, { settled: true })) {
        const request = requests[outcome.index]!;
        ended.add(outcome.index);
        if (outcome.status === "rejected") this.#ended(request.id, {}, outcome.reason, false);
        else {
          const wrong = wrongAnswer(request, outcome.value);
          if (wrong) this.#wrong(request.id, wrong);
          else this.#result.right++;
        }
      }
      if (ended.size < requests.length) this.#result.lost += requests.length - ended.size;
    } catch (error) {
      for (const { id } of requests.slice(ended.size)) this.#ended(id, {}, error, false);
    }
  }

  async #broadcast(): Promise<void> {
    const request = { ...this.#request(++this.#id), kind: "nested" as const };
    this.#result.calls += this.#lease.workers;
    const outcomes = await this.#values.broadcast(request);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") this.#ended(request.id, {}, outcome.reason, false);
      else {
        const wrong = wrongAnswer(request, outcome.value);
        if (wrong) this.#wrong(request.id, wrong);
        else this.#result.right++;
      }
    }
  }
}

function wrongAnswer({ id, bytes, kind, numbers }: Request, answer: unknown): string | undefined {
  const sum = numbers.reduce((all, number) => all + number, 0);
  const right =
    kind === "bytes"
      ? { id, sum, bytes: fillFrom(id, new Uint8Array(bytes)) }
      : { id, sum, nested: nestedFrom(id, bytes) };
  if (Bun.deepEquals(answer, right, true)) return undefined;
  return `got ${Bun.inspect(answer).slice(0, 300)}`;
}

function differs<Numbers extends Uint8Array | Float64Array>(
  right: Numbers,
  got: Numbers,
): string | undefined {
  if (Bun.deepEquals(right, got, true)) return undefined;
  const at = right.findIndex((number, i) => !Object.is(number, got[i]));
  return `is wrong from ${at} on: ${got[at]}, not ${right[at]}`;
}
