/** What a module has that is asked whether it was kept, and what functions leave behind. */
import { openSync } from "node:fs";
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

/** Throws when nothing waits for it any more. The engine does not tell of this timer. */
export const late: RawFunction = () => {
  const { value } = Atomics.waitAsync(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  void Promise.resolve(value).then(() => {
    throw new Error("too late");
  });
  return 0;
};

export const pending: RawFunction = () => new Promise(() => {});

/** Takes a moment, and leaves nothing. */
export const tidy: RawFunction = async () => {
  const timer = setTimeout(() => {}, 1e6);
  await Bun.sleep(1);
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
