/** What the torture test calls. Every result follows from the call's identity alone, so that a wrong one is known. */
import { type RawFunction, Type, defineFunction, struct, typedArray } from "rfaas/function";
import { fillFrom, nestedFrom } from "./contents.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Input: identity, length of the result, milliseconds to take. */
function orderOf(input: Bytes): { id: number; length: number; ms: number } {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  return {
    id: view.getUint32(0, true),
    length: view.getUint32(4, true),
    ms: view.getUint32(8, true),
  };
}

export const raw: RawFunction = (input, output) => {
  const { id, length } = orderOf(input);
  fillFrom(id, output.subarray(0, length));
  return length;
};

/** Writes half of its result before it waits, and half of it afterwards. */
export const rawLater: RawFunction = async (input, output) => {
  const { id, length, ms } = orderOf(input);
  const result = output.subarray(0, length);
  const half = length >>> 1;
  const whole = fillFrom(id, new Uint8Array(length));
  result.set(whole.subarray(0, half));
  await wait(ms);
  result.set(whole.subarray(half), half);
  return length;
};

/** Holds its thread. */
export const rawBusy: RawFunction = (input, output) => {
  const { id, length, ms } = orderOf(input);
  const until = performance.now() + ms;
  while (performance.now() < until);
  fillFrom(id, output.subarray(0, length));
  return length;
};

export const rawFails: RawFunction = (input) => {
  const { id } = orderOf(input);
  throw Object.assign(new RangeError(`no ${id}`), { code: `E_${id}` });
};

const Order = struct({ id: "u32", ms: "f64", factor: "f64" });
const Receipt = struct({ id: "u32", product: "f64", row: ["f64", 12] });

function fulfil(
  { id, factor }: { id: number; factor: number },
  receipt: { id: number; product: number; row: Float64Array },
): void {
  receipt.id = id;
  receipt.product = id * factor;
  for (let i = 0; i < receipt.row.length; i++) receipt.row[i] = id + i * factor;
}

export const records = defineFunction({ input: Order, output: Receipt }, (order, receipt) =>
  fulfil(order, receipt),
);

export const recordsLater = defineFunction(
  { input: Order, output: Receipt },
  async (order, receipt) => {
    await wait(order.ms);
    fulfil(order, receipt);
  },
);

const Request = Type.Object({
  id: Type.Integer(),
  bytes: Type.Integer(),
  ms: Type.Number(),
  kind: Type.Union([Type.Literal("bytes"), Type.Literal("nested"), Type.Literal("fails")]),
  numbers: typedArray("Float64Array"),
});

function answer({
  id,
  bytes,
  kind,
  numbers,
}: {
  id: number;
  bytes: number;
  kind: string;
  numbers: Float64Array;
}): unknown {
  if (kind === "fails") throw Object.assign(new RangeError(`no ${id}`), { code: `E_${id}` });
  const sum = numbers.reduce((all, number) => all + number, 0);
  return kind === "bytes"
    ? { id, sum, bytes: fillFrom(id, new Uint8Array(bytes)) }
    : { id, sum, nested: nestedFrom(id, bytes) };
}

export const values = defineFunction({ input: Request, output: Type.Any() }, (request) =>
  answer(request),
);

export const valuesLater = defineFunction(
  { input: Request, output: Type.Any() },
  async (request) => {
    await wait(request.ms);
    return answer(request);
  },
);
