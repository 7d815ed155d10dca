/** Leases on several nodes that were taken together, used and released as one. */
import {
  DeadlineExceeded,
  LeaseLost,
  OutOfLeaseMemory,
  UsageError,
  WorkerLost,
} from "../errors.ts";
import type { Lease, NameOf } from "./lease.ts";
import type { LeaseEvent, LeaseEventOf } from "./lease-term.ts";

/** How {@link LeaseGroup.map} moves a chunk to a worker and its result back. */
export interface GroupMapOptions<Chunk, Result> {
  /** Room for the input of one chunk. */
  inputBytes: number;
  /** Room for the result of one chunk. */
  outputBytes: number;
  /** Puts a chunk into the input; returns how many bytes it takes, if not all. Must leave what it was given alone afterwards. */
  write(chunk: Chunk, input: Uint8Array<ArrayBuffer>): number | void;
  /** Takes the result out of the bytes that the function wrote; they are overwritten as soon as it has returned. */
  read(output: Uint8Array<ArrayBuffer>, chunk: Chunk): Result;
  /** Calls in flight per worker: one computes while the next is on its way. Default 2. */
  ahead?: number;
  /** For each chunk. */
  deadlineMs?: number;
  /** Ends the waiting. */
  signal?: AbortSignal;
  /**
   * Whether a chunk whose worker is lost is given to another one. Only for functions that may run twice for the same chunk.
   * Default false: the loss is thrown.
   */
  retry?: boolean;
}

/** A place for one chunk on one worker, with its buffers in the memory of that worker's lease. */
interface Station<Module> {
  lease: Lease<Module>;
  worker: number;
  input: Uint8Array<ArrayBuffer>;
  output: Uint8Array<ArrayBuffer>;
  lost: boolean;
}

const DEFAULT_AHEAD = 2;
const MAX_AHEAD = 1024;
/** Results that may wait for an earlier one, for each place that a chunk can be in. */
const WINDOW_FACTOR = 4;

/**
 * Workers on one node or several, for one module, until released.
 *
 * @example
 * ```ts
 * await using group = await rf.allocate("./square.ts", { workers: 40 });
 * const squares = group.map("square", numbers, {
 *   inputBytes: 8,
 *   outputBytes: 8,
 *   write: (n, input) => new DataView(input.buffer, input.byteOffset).setFloat64(0, n),
 *   read: (output) => new DataView(output.buffer, output.byteOffset).getFloat64(0),
 * });
 * for await (const square of squares) total += square;
 * ```
 */
export class LeaseGroup<Module = unknown> implements AsyncDisposable {
  /** Each has memory of its own: a buffer of one cannot be used with another. */
  readonly leases: readonly Lease<Module>[];
  /** The name of the node that each lease is on. */
  readonly nodes: readonly string[];
  readonly #onReleased: () => Promise<void>;
  #released: Promise<void> | undefined;

  /** @internal */
  constructor(
    members: readonly { lease: Lease<Module>; node: string }[],
    onReleased: () => Promise<void>,
  ) {
    this.leases = Object.freeze(members.map(({ lease }) => lease));
    this.nodes = Object.freeze(members.map(({ node }) => node));
    this.#onReleased = onReleased;
  }

  /** How many workers all leases have together. */
  get workers(): number {
    return this.leases.reduce((sum, { workers }) => sum + workers, 0);
  }

  /** The functions that can be called. */
  get functions(): readonly string[] {
    return this.leases[0]?.functions ?? [];
  }

  /**
   * Calls `name` once per chunk, spread over all workers of all leases, and yields the results in the order of the chunks. Chunks
   * are taken as workers come free. The first failure is thrown; breaking off waits for the calls in flight.
   *
   * @throws {WorkerLost} a worker died; with `retry`, only when all have
   * @throws {OutOfLeaseMemory} a lease has no room for the buffers of its workers
   * @throws {FunctionError} what the function threw
   */
  async *map<Chunk, Result>(
    name: NameOf<Module>,
    chunks: Iterable<Chunk> | AsyncIterable<Chunk>,
    options: GroupMapOptions<Chunk, Result>,
  ): AsyncGenerator<Result, void> {
    const { ahead = DEFAULT_AHEAD } = options;
    if (!Number.isInteger(ahead) || ahead < 1 || ahead > MAX_AHEAD)
      throw new UsageError(`ahead must be a whole number from 1 to ${MAX_AHEAD}; it is ${ahead}`);
    const stations = new Stations<Module>();
    const results: { promise: Promise<Result>; ended: boolean }[] = [];
    try {
      stations.open(this.leases, ahead, options);
      const window = stations.size * WINDOW_FACTOR;
      for await (const chunk of chunks) {
        const station = await stations.take();
        const promise = this.#run(stations, station, name, chunk, options);
        const result = { promise, ended: false };
        // An error is thrown in its turn.
        promise.catch(() => {}).finally(() => (result.ended = true));
        results.push(result);
        while (results[0]?.ended || results.length >= window) yield await results.shift()!.promise;
      }
      while (results.length > 0) yield await results.shift()!.promise;
    } finally {
      await Promise.allSettled(results.map(({ promise }) => promise));
      stations.close();
    }
  }

  /**
   * Calls `listener` when it happens to one of the leases: `"renewed"`, `"revoking"`, `"worker-lost"`, `"lost"`, `"released"`.
   * Returns what ends that.
   */
  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>, lease: Lease<Module>) => void,
  ): () => void {
    const ends = this.leases.map((lease) => lease.on(type, (event) => listener(event, lease)));
    return () => ends.forEach((end) => end());
  }

  /** Gives the workers and the memory of all leases back. */
  release(): Promise<void> {
    return (this.#released ??= this.#release());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  async #release(): Promise<void> {
    await Promise.all(this.leases.map((lease) => lease.release()));
    await this.#onReleased();
  }

  async #run<Chunk, Result>(
    stations: Stations<Module>,
    first: Station<Module>,
    name: NameOf<Module>,
    chunk: Chunk,
    options: GroupMapOptions<Chunk, Result>,
  ): Promise<Result> {
    const { deadlineMs, signal, retry = false } = options;
    for (let station = first; ; station = await stations.take()) {
      const { lease, worker, input, output } = station;
      try {
        signal?.throwIfAborted();
        const bytes = options.write(chunk, input) ?? input.length;
        const written = await lease.submit(name, input.subarray(0, bytes), output, {
          worker,
          ...(deadlineMs === undefined ? {} : { deadlineMs }),
          ...(signal === undefined ? {} : { signal }),
        });
        return options.read(output.subarray(0, written), chunk);
      } catch (error) {
        station.lost = error instanceof WorkerLost || error instanceof LeaseLost;
        if (error instanceof DeadlineExceeded || signal?.aborted) stations.renew(station);
        if (!station.lost || !retry) throw error;
      } finally {
        stations.giveBack(station);
      }
    }
  }
}

/** The places that chunks can be in, those of all workers in turn. */
class Stations<Module> {
  readonly #all = new Set<Station<Module>>();
  readonly #free: Station<Module>[] = [];
  readonly #waiting: PromiseWithResolvers<Station<Module>>[] = [];

  get size(): number {
    return this.#all.size;
  }

  open(
    leases: readonly Lease<Module>[],
    ahead: number,
    { inputBytes, outputBytes }: { inputBytes: number; outputBytes: number },
  ): void {
    for (let turn = 0; turn < ahead; turn++)
      for (const lease of leases)
        for (let worker = 0; worker < lease.workers; worker++) {
          const input = lease.input(Uint8Array, inputBytes);
          const output = lease.output(Uint8Array, outputBytes);
          const station = { lease, worker, input, output, lost: false };
          this.#all.add(station);
          this.#free.push(station);
        }
  }

  /** Nobody waits for the function any more, but it may still be writing: its buffers are left to it. */
  renew(station: Station<Module>): void {
    try {
      station.input = station.lease.input(Uint8Array, station.input.length);
      station.output = station.lease.output(Uint8Array, station.output.length);
    } catch (error) {
      if (!(error instanceof OutOfLeaseMemory || error instanceof LeaseLost)) throw error;
      station.lost = true;
    }
  }

  close(): void {
    for (const { lease, input, output } of this.#all)
      for (const buffer of [input, output]) if (!buffer.buffer.detached) lease.free(buffer);
  }

  /** A free place, once there is one. Throws {@link WorkerLost} when all are lost. */
  async take(): Promise<Station<Module>> {
    const free = this.#free.shift();
    if (free) return free;
    if (this.#all.size === 0) throw allLost();
    const next = Promise.withResolvers<Station<Module>>();
    this.#waiting.push(next);
    return await next.promise;
  }

  giveBack(station: Station<Module>): void {
    if (station.lost) {
      this.#all.delete(station);
      if (this.#all.size === 0) for (const { reject } of this.#waiting.splice(0)) reject(allLost());
      return;
    }
    const next = this.#waiting.shift();
    if (next) next.resolve(station);
    else this.#free.push(station);
  }
}

const allLost = () =>
  new WorkerLost(0, "all workers of the group are lost; take new leases and call again");
