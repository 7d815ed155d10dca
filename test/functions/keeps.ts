/** What a module has that is asked whether it was kept, and what functions leave behind. */
import { dlopen } from "bun:ffi";
import { openSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { type FunctionContext, type RawFunction, defineHooks } from "../../src/function/index.ts";

let calls = 0;
const held: unknown[] = [];

/** Writes how often it was called since the module was loaded, whether the worker is cold, and how many views are held. */
export const count: RawFunction = (_input, output, ctx: FunctionContext) => {
  const ids = ctx.state.get("inits") as number;
  new Uint32Array(output.buffer, output.byteOffset, 4).set([
    ++calls,
    ctx.cold ? 1 : 0,
    ids,
    held.length,
  ]);
  return 16;
};

/** Keeps its views, and reads and writes those of earlier calls. */
export const hold: RawFunction = (input, output) => {
  held.push(input, output);
  for (const view of held as Uint8Array[]) view.fill((view[0] ?? 0) + 1);
  return 0;
};

/** The call's name. */
export const id: RawFunction = (_input, output, ctx: FunctionContext) =>
  new TextEncoder().encodeInto(ctx.invocation.id, output).written;

export const fail: RawFunction = () => {
  throw new Error("as it should");
};

export const timer: RawFunction = () => {
  setInterval(() => {}, 1e6).unref();
  return 0;
};

export const sleep: RawFunction = () => {
  void Bun.sleep(1e6);
  return 0;
};

export const child: RawFunction = () => {
  held.push(Bun.spawn(["sleep", "1000"], { stdio: ["ignore", "ignore", "ignore"] }));
  return 0;
};

/** A process whose parent has gone, which becomes the host's. */
export const orphan: RawFunction = () => {
  Bun.spawnSync(["sh", "-c", "sleep 1000 & exit 0"], { stdio: ["ignore", "ignore", "ignore"] });
  return 0;
};

export const socket: RawFunction = () => {
  held.push(Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }));
  return 0;
};

export const file: RawFunction = () => {
  held.push(openSync("/etc/hostname", "r"));
  return 0;
};

export const thread: RawFunction = () => {
  const code = "setInterval(() => {}, 1e6)";
  held.push(new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" }))));
  return 0;
};

/** Throws when nothing waits for it any more. Messages that are on their way tell nothing of themselves. */
export const late: RawFunction = () => {
  const { port1, port2 } = new MessageChannel();
  const endMs = performance.now() + 300;
  port1.addEventListener("message", () => {
    if (performance.now() > endMs) throw new Error("too late");
    port2.postMessage(0);
  });
  port1.start();
  port2.postMessage(0);
  return 0;
};

export const timeout: RawFunction = () => {
  held.push(AbortSignal.timeout(1e6));
  return 0;
};

export const waits: RawFunction = () => {
  held.push(Atomics.waitAsync(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
  return 0;
};

/** Takes some tenths of a second. */
export const enciphers: RawFunction = () => {
  held.push(crypto.subtle.digest("SHA-512", new Uint8Array(2e8)));
  return 0;
};

/** By the system's own call: in a thread, `process.on` reaches no signal. */
export const signals: RawFunction = () => {
  const [SIGUSR2, IGNORE] = [12, 1 as never];
  const { symbols } = dlopen("libc.so.6", { signal: { args: ["i32", "ptr"], returns: "ptr" } });
  symbols.signal(SIGUSR2, IGNORE);
  return 0;
};

process.on("SIGWINCH", () => {});

/** Writes how many listeners and which title it meets, and changes both. */
export const changesProcess: RawFunction = (_input, output) => {
  const met = `${process.listenerCount("SIGWINCH")} ${process.listenerCount("exit")} ${process.title}`;
  process.on("SIGWINCH", () => {});
  process.once("exit", () => {});
  process.title = "changed";
  return new TextEncoder().encodeInto(met, output).written;
};

/** Says to its host what a worker says, and to its worker what a host says. */
export const forges: RawFunction = () => {
  const error = { name: "Error", message: "forged" };
  for (const report of [{ t: "stopped" }, { t: "crashed", error }, { t: "at-rest", left: null }])
    for (const message of [report, { report }, { token: 0n, report }]) {
      postMessage(message);
      parentPort!.postMessage(message);
    }
  // The types do not say that it is the thread's.
  const thread = globalThis as unknown as EventTarget;
  for (const data of [{ stopped: "end" }, { leave: true }])
    thread.dispatchEvent(new MessageEvent("message", { data }));
  thread.dispatchEvent(new ErrorEvent("error", { error: new Error("forged") }));
  return 0;
};

export const pending: RawFunction = () => new Promise(() => {});

/** Takes a moment, and leaves nothing. */
export const tidy: RawFunction = async () => {
  const timer = setTimeout(() => {}, 1e6);
  const [first, second] = [AbortSignal.timeout(1), AbortSignal.timeout(2)];
  await new Promise((resolve) => AbortSignal.any([first]).addEventListener("abort", resolve));
  await new Promise((resolve) => second.addEventListener("abort", resolve));
  await Atomics.waitAsync(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1).value;
  await crypto.subtle.digest("SHA-256", new Uint8Array(8));
  await crypto.subtle.digest("none" as never, new Uint8Array(8)).catch(() => {});
  clearTimeout(timer);
  await Bun.spawn(["true"], { stdio: ["ignore", "ignore", "ignore"] }).exited;
  await Bun.file("/etc/hostname").text();
  return 0;
};

/** Fetches from the port that its input begins with, over a connection that it closes. */
export const fetches: RawFunction = async (input) => {
  const port = new Uint16Array(input.slice().buffer)[0]!;
  await (await fetch(`http://127.0.0.1:${port}/`, { keepalive: false })).text();
  return 0;
};

/** The same, over one that stays open. */
export const connects: RawFunction = async (input) => {
  const port = new Uint16Array(input.slice().buffer)[0]!;
  await (await fetch(`http://127.0.0.1:${port}/`)).text();
  return 0;
};

/** Fetches, and does not wait for the answer. */
export const asks: RawFunction = (input) => {
  const port = new Uint16Array(input.slice().buffer)[0]!;
  void fetch(`http://127.0.0.1:${port}/never`, { keepalive: false });
  return 0;
};

/** Does not stop when it is told to. */
export const spin: RawFunction = () => {
  for (;;);
};

export const hooks = defineHooks({
  init: ({ state }) => void state.set("inits", ((state.get("inits") as number) ?? 0) + 1),
  dispose: ({ log }) => log.info("disposed"),
});
