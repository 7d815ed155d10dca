/**
 * What harms its own lease at most: each function does it, and those whose harm could not be seen from outside say by `bites` that it is
 * real: the same thing stops the code beside it.
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { Type, defineFunction } from "rfaas/function";

type Open = Record<string, unknown>;
const byName = { input: Type.String(), output: Type.String() };

export const echo = defineFunction(byName, (text) => text);

/** Values that harm who looks at them. */
const TRAPS: Record<string, () => unknown> = {
  proxy: () =>
    new Proxy(new Error("p"), {
      get: () => {
        throw new Error("trap");
      },
      getPrototypeOf: () => {
        throw new Error("trap");
      },
    }),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable(new Error("p"), {});
    revoke();
    return proxy;
  },
  message: () =>
    Object.defineProperty(new Error("m"), "message", {
      get: () => {
        throw new Error("trap");
      },
    }),
  stack: () =>
    Object.defineProperty(new Error("s"), "stack", {
      get: () => {
        throw new Error("trap");
      },
    }),
  cause: () => {
    const error = new Error("its own cause");
    return Object.assign(error, { cause: error });
  },
  long: () => new Error("m".repeat(100 << 20)),
  name: () => Object.assign(new Error("n"), { name: "n".repeat(50 << 20) }),
  text: () => ({
    toString: () => {
      throw new Error("trap");
    },
    [Symbol.toPrimitive]: () => {
      throw new Error("trap");
    },
  }),
  inspect: () => ({
    [Symbol.for("nodejs.util.inspect.custom")]: () => {
      throw new Error("trap");
    },
  }),
  then: () => ({
    get then() {
      throw new Error("trap");
    },
  }),
  escapes: () => new Error("\0\u001b[2J\u001b]0;forged\u0007 \ud800"),
};

export const throws = defineFunction(byName, (name) => {
  throw TRAPS[name]!();
});

/** Looks at a trap as careless code does. */
export const looks = defineFunction(byName, (name) => {
  const value = TRAPS[name]!() as Open;
  try {
    const { message, stack, cause } = value as unknown as Error;
    if (name === "text") return `${value as unknown as string}`;
    if (name === "inspect") return Bun.inspect(value);
    if (name === "then") return String(value["then"]);
    if (
      cause === value ||
      String(message).length > 1 << 20 ||
      String(value["name"]).length > 1 << 20
    )
      return "bites";
    if (String(message).includes("\u001b")) return "bites";
    return `${message} ${stack}`.slice(0, 100);
  } catch {
    return "bites";
  }
});

const boom = (): never => {
  throw new Error("patched");
};
/** Changes to what all code of a thread shares, and code that they stop. */
interface Pollution {
  change: () => unknown;
  use: () => unknown;
}
const of = (change: () => unknown, use: () => unknown): Pollution => ({ change, use });
const POLLUTIONS: Record<string, Pollution> = {
  array: of(
    () => Object.assign(Array.prototype, { push: boom, map: boom, slice: boom }),
    () => [1].map(String),
  ),
  promise: of(
    () => ((Promise.prototype as unknown as Open)["then"] = boom),
    () => Promise.resolve(1).then(),
  ),
  constructor: of(
    () => ((globalThis as unknown as Open)["Promise"] = boom),
    () => new Promise(() => {}),
  ),
  json: of(
    () => Object.assign(JSON, { parse: boom, stringify: boom }),
    () => JSON.parse("1"),
  ),
  atomics: of(
    () => ((globalThis as unknown as Open)["Atomics"] = { load: boom, store: boom }),
    () => Atomics.load(new Int32Array(1), 0),
  ),
  map: of(
    () => Object.assign(Map.prototype, { get: boom, set: boom }),
    () => new Map().get(1),
  ),
  bytes: of(
    () => ((globalThis as unknown as Open)["Uint8Array"] = boom),
    () => new Uint8Array(1),
  ),
  views: of(
    () => Object.assign(Uint8Array.prototype, { subarray: boom, set: boom, fill: boom }),
    () => new Uint8Array(1).subarray(0),
  ),
  text: of(
    () => {
      TextEncoder.prototype.encode = boom;
      TextDecoder.prototype.decode = boom;
    },
    () => new TextEncoder().encode(""),
  ),
  error: of(
    () => ((globalThis as unknown as Open)["Error"] = boom),
    () => new Error("e"),
  ),
  timers: of(
    () =>
      Object.assign(globalThis, {
        setTimeout: boom,
        setImmediate: boom,
        queueMicrotask: boom,
      }),
    () => setTimeout(() => {}, 0),
  ),
  prototype: of(
    () => {
      Object.assign(Object.prototype, { code: "forged", worker: 7, retryable: true });
      Object.defineProperty(Object.prototype, "then", { value: boom, configurable: true });
    },
    () => (({}) as Open)["worker"] === 7 && boom(),
  ),
};

/** Returns what the code beside it came to. */
export const pollutes = defineFunction(byName, (name) => {
  const { change, use } = POLLUTIONS[name]!;
  change();
  try {
    use();
    return "harmless";
  } catch {
    return "bites";
  }
});

/** Ends of the process, the thread or the call that are not the function's to choose. */
export const ends = defineFunction(byName, async (name) => {
  if (name === "exit") process.exit(3);
  if (name === "abort") process.abort();
  if (name === "kill") process.kill(process.pid, "SIGKILL");
  if (name === "stop") process.kill(process.pid, "SIGSTOP");
  if (name === "loop") for (;;);
  if (name === "match") return String(/^(a+)+$/.test(`${"a".repeat(40)}b`));
  if (name === "never") await new Promise(() => {});
  if (name === "recursion") {
    const deeper = (): number => 1 + deeper();
    return String(deeper());
  }
  return "ended as it should";
});

/** Messages to the host's main thread, as the thread's own are and as none is. Returns how many it took. */
export const posts = defineFunction(byName, () => {
  const forged = [
    { t: "stopped" },
    { t: "loaded", exports: { functions: ["forged"], others: {} }, disposes: true },
    { t: "crashed", error: { name: "Error", message: "forged" } },
    { token: 1n, report: { t: "stopped" } },
    { token: 0n, report: { t: "at-rest", left: null } },
    ...[null, undefined, 5, "stopped", [], new Map(), { t: "log", line: 5 }],
  ];
  for (const message of forged) {
    parentPort!.postMessage(message);
    postMessage(message);
  }
  return String(forged.length);
});

/** Words to the agent, in the host's place: over its descriptor. Returns how many bytes went. */
export const speaks = defineFunction(byName, (text) => {
  let sent = 0;
  for (let fd = 3; fd < 32; fd++) {
    try {
      if (fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:"))
        sent += fs.writeSync(fd, Buffer.from(text));
    } catch {
      // No descriptor, or one that takes nothing.
    }
  }
  return String(sent);
});

/** Text for a terminal, by its log and by what it prints. */
export const prints = defineFunction(byName, (text, { log }) => {
  log.info(text);
  console.log(text);
  fs.writeSync(2, `${text}\n`);
  return text;
});
export const opens = defineFunction(byName, (count) => {
  const opened: number[] = [];
  try {
    while (opened.length < Number(count)) opened.push(fs.openSync("/dev/null", "r"));
    return "reached";
  } finally {
    for (const fd of opened) fs.closeSync(fd);
  }
});
export const fills = defineFunction(byName, (mebibytes) => {
  const path = join(tmpdir(), `escape-filling-${process.pid}`);
  const fd = fs.openSync(path, "w");
  const piece = Buffer.alloc(1 << 20, 1);
  try {
    for (let i = 0; i < Number(mebibytes); i++) fs.writeSync(fd, piece);
    return "reached";
  } finally {
    fs.closeSync(fd);
    fs.unlinkSync(path);
  }
});
/** As {@link fills}, by files of which only descriptors are left. */
export const fillsUnseen = defineFunction(byName, (mebibytes) => {
  const piece = Buffer.alloc(1 << 20, 1);
  const held: number[] = [];
  for (let i = 0; i < Number(mebibytes); i += 16) {
    const path = join(tmpdir(), `escape-unseen-${process.pid}`);
    held.push(fs.openSync(path, "w"));
    fs.unlinkSync(path);
    for (let j = 0; j < 16; j++) fs.writeSync(held.at(-1)!, piece);
  }
  for (const fd of held) fs.closeSync(fd);
  return "reached";
});
/** Files that have nothing in them: what they cost is the kernel's. */
export const scatters = defineFunction(byName, (count) => {
  const folder = fs.mkdtempSync(join(tmpdir(), "escape-scattered-"));
  try {
    for (let i = 0; i < Number(count); i++) fs.closeSync(fs.openSync(join(folder, String(i)), "w"));
    return "reached";
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
export const eats = defineFunction(byName, (mebibytes) => {
  const held: Uint8Array[] = [];
  for (let i = 0; i < Number(mebibytes); i += 16) held.push(new Uint8Array(16 << 20).fill(1));
  return held.length > 0 ? "reached" : "nothing";
});
