/** How clients of a run call: one kind for each way that the library has. A round is some calls, all of which have ended when it has. */
import type { AllocateOptions, Lease, Pool, PoolOptions } from "rfaas";
import type { Random } from "../../sim/random.ts";
import { answerTo } from "../functions/answer.ts";
import { ABORTED } from "./outcome.ts";

type Functions = typeof import("../functions/functions.ts");

/** What a client writes down of calls. */
export interface Calling {
  random: Random;
  client: number;
  /** Gives the call its number. */
  begin(kind: string, idempotent?: boolean): number;
  ended(call: number, right: boolean): void;
  failed(call: number, error: unknown): void;
}

export interface Session extends Calling {
  lease: Lease<Functions>;
}

export interface PoolSession extends Calling {
  pool: Pool<Functions>;
}

export interface LeaseKind {
  workers?: number;
  lease?: AllocateOptions;
  round(session: Session): Promise<void>;
}

export interface PoolKind {
  pool: PoolOptions;
  round(session: PoolSession): Promise<void>;
}

export type ClientKind = LeaseKind | PoolKind;

const isRight = (session: Calling, call: number, output: Uint32Array): boolean =>
  output[0] === answerTo(session.client, call);

const ms = ({ random }: Calling): number => random.pick([0, 0, 1, 2, 5, 30]);

/** Buffers of a call in the lease's memory, freed when it is over. A lease that is lost has none left to give. */
function buffersFor(session: Session, call: number): { input: Uint32Array; output: Uint32Array } {
  const worker = session.random.between(0, session.lease.workers - 1);
  const input = session.lease.input(Uint32Array, 3, { worker });
  input.set([session.client, call, ms(session)]);
  return { input, output: session.lease.output(Uint32Array, 1, { worker }) };
}

async function onBuffers(
  session: Session,
  kind: string,
  run: (input: Uint32Array, output: Uint32Array) => unknown,
  idempotent = false,
): Promise<void> {
  const call = session.begin(kind, idempotent);
  try {
    const { input, output } = buffersFor(session, call);
    try {
      await run(input, output);
      session.ended(call, isRight(session, call, output));
    } finally {
      session.lease.free(input);
      session.lease.free(output);
    }
  } catch (error) {
    session.failed(call, error);
  }
}

const submits = (
  session: Session,
  name: "work" | "later",
  options: (session: Session) => Parameters<Lease<Functions>["submit"]>[3],
): Promise<void> => {
  const given = options(session);
  return onBuffers(
    session,
    `submit ${name}`,
    (input, output) => session.lease.submit(name, input, output, given),
    given?.retries !== undefined || given?.idempotent === true,
  );
};

const many = async (session: Calling, count: number, one: () => Promise<void>): Promise<void> => {
  await Promise.all(Array.from({ length: session.random.between(1, count) }, one));
};

type ValueOptions = { deadlineMs?: number; signal?: AbortSignal; idempotent?: boolean };

const value = async (session: Session | PoolSession, options: ValueOptions = {}): Promise<void> => {
  const call = session.begin("value", options.idempotent);
  try {
    const order = { client: session.client, call, ms: ms(session) };
    const run =
      "pool" in session ? session.pool.function("value") : session.lease.function("value");
    const { answer } = await run(order, options);
    session.ended(call, answer === answerTo(session.client, call));
  } catch (error) {
    session.failed(call, error);
  }
};

/** Aborts soon, perhaps before the call is over. */
function abortsSoon({ random }: Calling): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(ABORTED), random.between(0, 40));
  return controller.signal;
}

/** Results and failures of a map by index; what it has thrown is the end of all that it has not told of. */
async function mapped(
  session: Calling,
  calls: readonly number[],
  results: AsyncIterable<{ index: number; right?: boolean; error?: unknown }>,
): Promise<void> {
  const open = new Set(calls.keys());
  try {
    for await (const { index, right, error } of results) {
      open.delete(index);
      if (right === undefined) session.failed(calls[index]!, error);
      else session.ended(calls[index]!, right);
    }
  } catch (error) {
    // A map that breaks off does not say which of its calls have run.
    for (const index of open)
      session.failed(calls[index]!, Object.assign(error as Error, { mayHaveRun: true }));
  }
}

const begun = (session: Calling, kind: string, most: number, idempotent = false): number[] =>
  Array.from({ length: session.random.between(1, most) }, () => session.begin(kind, idempotent));

type Settled<Result> =
  | { status: "fulfilled"; index: number; value: Result }
  | { status: "rejected"; index: number; reason: unknown };

async function* judged<Result>(
  results: AsyncIterable<Settled<Result>>,
  rightFor: (result: Result, index: number) => boolean,
): AsyncGenerator<{ index: number; right?: boolean; error?: unknown }> {
  for await (const result of results)
    yield result.status === "rejected"
      ? { index: result.index, error: result.reason }
      : { index: result.index, right: rightFor(result.value, result.index) };
}

function rawMap(session: Session, more: { idempotent?: true } = {}): Promise<void> {
  const calls = begun(session, "map", 40, more.idempotent);
  const inputs = calls.map((call) => new Uint32Array([session.client, call, ms(session)]));
  const options = { settled: true, ordered: false, ...more } as const;
  const results = session.lease.map("work", inputs, options);
  const rightFor = ({ output }: { output: Uint8Array }, index: number) =>
    isRight(session, calls[index]!, new Uint32Array(output.slice().buffer));
  return mapped(session, calls, judged(results, rightFor));
}

function typedMap(session: Session | PoolSession): Promise<void> {
  const { client } = session;
  const calls = begun(session, "typed map", 20);
  const orders = calls.map((call) => ({ client, call, ms: ms(session) }));
  const run = "pool" in session ? session.pool.function("value") : session.lease.function("value");
  const results = run.map(orders, { settled: true });
  return mapped(
    session,
    calls,
    judged(results, ({ answer }, index) => answer === answerTo(client, calls[index]!)),
  );
}

async function batch(session: Session, more: { idempotent?: true } = {}): Promise<void> {
  const calls = begun(session, "submitMany", 30, more.idempotent);
  const open = new Set(calls);
  try {
    const buffers = calls.map((call) => buffersFor(session, call));
    const inputs = buffers.map(({ input }) => input);
    const outputs = buffers.map(({ output }) => output);
    try {
      const running = session.lease.submitMany("work", inputs, outputs, {
        settled: true,
        ...more,
      });
      const written = await running;
      const failures = new Map(running.failures.map(({ index, error }) => [index, error]));
      for (const [index, call] of calls.entries()) {
        open.delete(call);
        if (written[index]! < 0) session.failed(call, failures.get(index));
        else session.ended(call, isRight(session, call, outputs[index]!));
      }
    } finally {
      for (const buffer of [...inputs, ...outputs]) session.lease.free(buffer);
    }
  } catch (error) {
    for (const call of open) session.failed(call, error);
  }
}

const IDEMPOTENT = { idempotent: true } as const;
/** On a lease that replaces what it loses. */
const HEALED: readonly ((session: Session) => Promise<void>)[] = [
  (session) => many(session, 20, () => submits(session, "later", () => ({}))),
  (session) => many(session, 20, () => submits(session, "later", () => IDEMPOTENT)),
  (session) => many(session, 10, () => value(session)),
  (session) => many(session, 10, () => value(session, { ...IDEMPOTENT, deadlineMs: 5000 })),
  (session) => batch(session),
  (session) => batch(session, IDEMPOTENT),
  (session) => rawMap(session, IDEMPOTENT),
  typedMap,
];

const REPLACED: LeaseKind = {
  workers: 2,
  lease: { onLoss: "replace" },
  round: (session) => session.random.pick(HEALED)(session),
};

const POOL: PoolKind = {
  pool: { min: 0, max: 2, idleMs: 300, concurrency: 2, whenFull: "wait" },
  round: (session) =>
    session.random.chance(0.2)
      ? typedMap(session)
      : many(session, 20, () =>
          value(session, session.random.pick([{}, IDEMPOTENT, { deadlineMs: 1000 }])),
        ),
};

/** What the version before this one has not got. */
export const NEW_KINDS: Readonly<Record<string, ClientKind>> = { replaced: REPLACED, pool: POOL };

const USUAL_KINDS: Readonly<Record<string, LeaseKind>> = {
  sync: {
    round: (session) =>
      onBuffers(session, "invoke", (input, output) => session.lease.invoke("work", input, output)),
  },
  "sync with deadlines": {
    round: (session) =>
      onBuffers(session, "invoke", (input, output) =>
        session.lease.invoke("work", input, output, { deadlineMs: session.random.between(5, 500) }),
      ),
  },
  async: {
    workers: 2,
    round: (session) => many(session, 30, () => submits(session, "later", () => ({}))),
  },
  "async with signals": {
    round: (session) =>
      many(session, 10, () => submits(session, "later", () => ({ signal: abortsSoon(session) }))),
  },
  idempotent: {
    workers: 3,
    round: (session) => many(session, 10, () => submits(session, "work", () => ({ retries: 2 }))),
  },
  map: { workers: 2, round: (session) => rawMap(session) },
  typed: { round: (session) => many(session, 10, () => value(session)) },
  "typed with deadlines": {
    round: (session) =>
      many(session, 5, () => value(session, { deadlineMs: session.random.between(10, 1000) })),
  },
  "typed map": { workers: 2, round: typedMap },
  batches: { round: (session) => batch(session) },
  structs: {
    round: async (session) => {
      const call = session.begin("struct");
      try {
        const order = { client: session.client, call, ms: ms(session) };
        const { answer } = (await session.lease.function("record")(order)) as { answer: number };
        session.ended(call, answer === answerTo(session.client, call));
      } catch (error) {
        session.failed(call, error);
      }
    },
  },
  kept: {
    lease: { keepWarmMs: 5000 },
    round: (session) => many(session, 5, () => submits(session, "work", () => ({}))),
  },
};

export const KINDS: Readonly<Record<string, ClientKind>> = { ...NEW_KINDS, ...USUAL_KINDS };
