/** Which part of a lease a call goes to: the one that its buffers lie with, which must be that of the worker it names. */
import { UsageError } from "../../base/errors.ts";
import { noSuchWorker } from "../failures/no-such-worker.ts";
import type { LeaseCore } from "../calls/submission.ts";
import type { LeaseBuffer } from "../memory/lease-memory.ts";
import type { LeasePart } from "./lease.ts";

/** What routing needs of a part. */
export interface RoutedPart {
  readonly core: LeaseCore;
  readonly firstWorker: number;
  readonly workers: number;
  readonly state: LeasePart["state"];
  readonly parts: readonly LeasePart[];
}

export class Routing<Part extends RoutedPart> {
  readonly #parts: readonly Part[];
  readonly #workers: number;
  /** By the buffer of a view. Registered memory may lie with every part, and is not here. */
  readonly #homes = new WeakMap<ArrayBufferLike, Part>();
  /** Parts that others have the places of. */
  readonly #left = new WeakSet<Part>();
  /** Of these, those that had a worker that no part has yet. */
  readonly #vacant = new Map<number, Part>();
  #leaving = false;
  #turn = 0;

  constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.#workers = parts.reduce((sum, { workers }) => sum + workers, 0);
  }

  /** Records the part where a buffer was allocated. Returns the buffer. */
  settle<View extends LeaseBuffer>(view: View, part: Part): View {
    this.#homes.set(view.buffer, part);
    return view;
  }

  /** Others have the place of a part: its buffers lie with none. Workers of it that are still to be replaced stay its own until then. */
  leave(part: Part): void {
    this.#left.add(part);
    this.#leaving = true;
    for (let i = 0; i < part.workers; i++) this.#vacant.set(part.firstWorker + i, part);
    for (const worker of this.#vacant.keys())
      if (this.#holderOf(worker)) this.#vacant.delete(worker);
  }

  /** Where a buffer was allocated, if it was; what lay with a part that was replaced is taken over where it is used. */
  homeOf(view: LeaseBuffer): Part | undefined {
    const home = ArrayBuffer.isView(view) ? this.#homes.get(view.buffer) : undefined;
    return home !== undefined && this.#leaving && this.#left.has(home) ? undefined : home;
  }

  /** The part that has the worker, or had it until it was lost. Throws {@link UsageError}. */
  partOf(worker: number): Part {
    const part = this.#holderOf(worker) ?? this.#vacant.get(worker);
    if (part) return part;
    throw noSuchWorker(worker, 0, this.#workers);
  }

  #holderOf(worker: number): Part | undefined {
    // A part that replaces one worker of another has its number.
    return this.#parts.findLast(
      ({ firstWorker, workers }) => worker >= firstWorker && worker < firstWorker + workers,
    );
  }

  /** The part that a call goes to; that part refuses buffers that are not the lease's. Throws {@link UsageError}; `row` is the call's of many. */
  route(input: LeaseBuffer, output: LeaseBuffer, worker: number | undefined, row?: number): Part {
    const home = this.homeOf(input);
    const target = this.homeOf(output);
    if (home && target && home !== target)
      throw new UsageError(
        `${the("input", row)} lies with ${named(home)} and ${the("output", row)} with ${named(target)}; allocate both with the same { worker }`,
      );
    const near = home ?? target;
    if (worker === undefined) return near ?? this.#leastLoaded();
    const asked = this.partOf(worker);
    if (near === undefined || near === asked) return asked;
    throw new UsageError(
      `worker ${worker} is on node ${nodeOf(asked)}, and ${the(home ? "input" : "output", row)} lies with ${named(near)}; allocate it with { worker: ${worker} }, or leave worker out`,
    );
  }

  /** As {@link route}, for many pairs: which of them go to each part. Where none says it, they are dealt out by the number of workers. */
  routeMany(
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    worker: number | undefined,
  ): { part: Part; rows: number[] }[] {
    const groups = new Map<Part, number[]>();
    // Registered memory lies with every part.
    const anywhere = this.#inTurn();
    for (const [row, input] of inputs.entries()) {
      const output = outputs[row]!;
      const free =
        worker === undefined &&
        this.homeOf(input) === undefined &&
        this.homeOf(output) === undefined;
      const part = free ? anywhere(row) : this.route(input, output, worker, row);
      const rows = groups.get(part);
      if (rows) rows.push(row);
      else groups.set(part, [row]);
    }
    if (groups.size === 0) groups.set(this.#leastLoaded(), []);
    return [...groups].map(([part, rows]) => ({ part, rows }));
  }

  /** The parts that are left, each as often as it has workers. */
  #inTurn(): (row: number) => Part {
    const left = this.#parts.filter(({ state }) => state !== "lost");
    const turns = left.flatMap((part) => new Array<Part>(part.workers).fill(part));
    return (row) => turns[row % turns.length] ?? this.#parts[0]!;
  }

  #leastLoaded(): Part {
    const left = this.#parts.filter(({ state }) => state !== "lost");
    // When all parts are lost, the first reports the loss.
    if (left.length === 0) return this.#parts[0]!;
    const begin = this.#turn++ % left.length;
    const inTurn = [...left.slice(begin), ...left.slice(0, begin)];
    return inTurn.reduce((best, part) => (loadOf(part) < loadOf(best) ? part : best));
  }
}

/** Calls for each worker. */
const loadOf = ({ core: { lanes } }: RoutedPart): number =>
  lanes.reduce((sum, { load }) => sum + load, 0) / lanes.length;

const the = (what: string, row: number | undefined): string =>
  row === undefined ? `the ${what}` : `${what} ${row}`;

const nodeOf = ({ parts }: RoutedPart): string => parts[0]?.node ?? "?";

function named(part: RoutedPart): string {
  const { firstWorker, workers } = part;
  const range =
    workers === 1
      ? `worker ${firstWorker}`
      : `workers ${firstWorker} to ${firstWorker + workers - 1}`;
  return `${range} on node ${nodeOf(part)}`;
}
