/** Whatever a program passes to the library: it hears a `UsageError` or another error with a code, or what its own object has thrown. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import {
  type Invoker,
  type Lease,
  type RemoteRegion,
  RfaasError,
  invoker,
} from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

const LIMIT_MS = 240_000;
const HANG_MS = 20_000;

class Mine extends Error {}
/** What the engine says of the program's own objects. */
const OWN = ["Receiver should be a typed array view", "Cannot call a class constructor"];
const mine = (): never => {
  throw new Mine();
};
const HOSTILE = [
  { toString: mine, valueOf: mine, [Symbol.toPrimitive]: mine, then: mine },
  {
    get signal() {
      return mine();
    },
    get write() {
      return mine();
    },
    get buffer() {
      return mine();
    },
  },
  new Proxy({}, { get: mine, has: mine, ownKeys: mine, getPrototypeOf: mine }),
  new Proxy(new Uint8Array(8), {}),
  { buffer: new ArrayBuffer(8), byteOffset: -8, byteLength: 1e9, length: 8 },
  {
    *[Symbol.iterator]() {
      mine();
    },
  },
  {
    async *[Symbol.asyncIterator]() {
      mine();
    },
  },
  { [Symbol.iterator]: () => ({ next: () => null }) },
  {
    [Symbol.iterator]: () => ({
      next: () => ({
        get done() {
          return mine();
        },
      }),
      return: mine,
    }),
  },
  { [Symbol.asyncIterator]: () => ({ next: () => ({ then: mine }) }) },
];
const JUNK: unknown[] = [
  ...[undefined, null, NaN, -1, 1.5, Infinity, 2 ** 53, 5n, true, "", "x", "\0", Symbol("s")],
  ...[{}, [], [1], Object.create(null), new Date(NaN), new Map(), () => {}, class {}],
  ...[new Uint8Array(4), new Uint8Array(new SharedArrayBuffer(4)), new ArrayBuffer(8)],
  ...[new DataView(new ArrayBuffer(4)), Promise.resolve(1), ...HOSTILE],
];

let rf: Invoker;
let raw: Lease;
let typed: Lease;
let region: RemoteRegion;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 2 });
  raw = await rf.allocate(join(FUNCTIONS, "good.ts"), { polling: "warm" });
  typed = await rf.allocate(join(FUNCTIONS, "typed.ts"), { polling: "warm" });
  region = raw.remote(64);
});
afterAll(async () => await rf.close());

type Pass = (first: never, second: never) => unknown;
const buffers = () => [raw.input(Uint8Array, 8), raw.output(Uint8Array, 8)] as const;
const freed = (
  run: (input: Uint8Array<ArrayBuffer>, output: Uint8Array<ArrayBuffer>) => unknown,
) => {
  const [input, output] = buffers();
  const end = () => [input, output].forEach((buffer) => raw.free(buffer));
  return Promise.try(() => run(input, output)).finally(end);
};

/** Ways to pass one value, or two. */
const ONE: Record<string, Pass> = {
  invoker: (a) => invoker(a ?? { cores: 0 }),
  "allocate's options": async (a) =>
    await (await rf.allocate("rfaas:echo", a ?? { workers: 0 })).release(),
  status: (a) => rf.status(a),
  "packages.list": (a) => rf.packages.list(a),
  renew: (a) => raw.renew(a),
  usage: (a) => raw.usage(a),
  kindOf: (a) => raw.kindOf(a),
  "input's length": (a) => raw.free(raw.input(Uint8Array, a)),
  "input's type": (a) => raw.input(a, 8),
  remote: (a) => raw.remote(a),
  register: (a) => raw.register(a)[Symbol.dispose](),
  free: (a) => raw.free(a),
  "invoke's options": (a) => freed((input, output) => raw.invoke("echo", input, output, a)),
  "submit's options": (a) => freed((input, output) => raw.submit("echo", input, output, a)),
  "trySubmit's options": (a) => freed((input, output) => raw.trySubmit("echo", input, output, a)),
  "a map's name": (a) => Array.fromAsync(raw.map(a, [new Uint8Array(8)])),
  "a map's item": (a) => Array.fromAsync(raw.map("echo", [a])),
  "what write returns": (a) =>
    Array.fromAsync(
      raw.map("echo", [1], { inputBytes: 8, outputBytes: 8, write: () => a, read: () => 1 }),
    ),
  "what inputBytes returns": (a) =>
    Array.fromAsync(
      raw.map("echo", [1], { inputBytes: () => a, outputBytes: 8, write() {}, read: () => 1 }),
    ),
  "a call's options": (a) => typed.function("mirror")(1, a),
  "a call's onProgress": (a) =>
    typeof a === "function" || typed.function("mirror")(1, { onProgress: a }),
};
const TWO: Record<string, Pass> = {
  allocate: (a, b) => rf.allocate(a, b),
  "packages.push": (a, b) => rf.packages.push(a, b),
  "packages.remove": (a, b) => rf.packages.remove(a, b),
  on: (a, b) => raw.on(a, b),
  function: (a, b) => typed.function(a, b),
  invoke: (a, b) => freed((_, output) => raw.invoke(a, b, output)),
  "invoke's buffers": (a, b) => raw.invoke("echo", a, b),
  "submit's buffers": (a, b) => raw.submit("echo", a, b),
  broadcast: (a, b) => raw.broadcast("echo", a, b),
  map: (a, b) => Array.fromAsync(raw.map("echo", a, b)),
  "a map's pair": (a, b) => Array.fromAsync(raw.map("echo", [[a, b]])),
  "a map's codec": (a, b) =>
    Array.fromAsync(raw.map("echo", [1], { inputBytes: 8, outputBytes: 8, write: a, read: b })),
  "a call": (a, b) => typed.function("payoff")(a, b),
  "a call on the spot": (a, b) =>
    (typed.function("payoff") as unknown as { invoke: Pass }).invoke(a, b),
  "a map of values": (a, b) => Array.fromAsync(typed.function("payoff").map(a, b)),
  "region.read": (a, b) => region.read(a, b),
  "region.write": (a, b) => region.write(a, b),
  "region.fetchAdd": (a, b) => region.fetchAdd(a, b),
  "region.compareAndSwap": (a, b) => region.compareAndSwap(0, a, b),
};

/** What it came to, when that is not what it should be. */
async function trouble(
  name: string,
  pass: Pass,
  first: unknown,
  second: unknown,
): Promise<string | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it hangs")), HANG_MS);
  });
  try {
    await Promise.race([Promise.try(() => pass(first as never, second as never)), hang]);
  } catch (error) {
    if (error instanceof Mine || OWN.some((what) => String(error).includes(what))) return undefined;
    if (error instanceof RfaasError && error.code !== "" && error.message !== "") return undefined;
    return `${name}(${JUNK.indexOf(first)}, ${JUNK.indexOf(second)}): ${error}`;
  } finally {
    clearTimeout(timer);
  }
  return undefined;
}

test(
  "every wrong argument ends with an error that has a code, and the leases go on",
  async () => {
    const troubles: (string | undefined)[] = [];
    for (const [name, pass] of Object.entries(ONE))
      for (const value of JUNK) troubles.push(await trouble(name, pass, value, undefined));
    for (const [name, pass] of Object.entries(TWO))
      for (const [i, first] of JUNK.entries())
        for (const [j, second] of JUNK.entries())
          if ((i + j) % 4 === 0) troubles.push(await trouble(name, pass, first, second));
    expect(troubles.filter((one) => one !== undefined)).toEqual([]);
    expect(troubles.length).toBeGreaterThan(5000);
    await freed((input, output) => expect(raw.invoke("echo", input, output)).toBe(8));
    expect(await typed.function("mirror")(5)).toBe(5);
    expect((await rf.status()).leases).toBe(2);
  },
  LIMIT_MS,
);
