/** Functions that reach for what lies outside their room, and say what they got hold of. */
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Type, defineFunction } from "rfaas/function";

const text = { input: Type.String(), output: Type.String() };

export const reads = defineFunction(text, (path) => readFileSync(path, "utf8"));

export const writes = defineFunction(text, (path) => {
  writeFileSync(path, "written");
  return readFileSync(path, "utf8");
});

/** Into its scratch folder. */
export const keeps = defineFunction(text, (name) => {
  const path = join(process.env["TMPDIR"]!, name);
  writeFileSync(path, "kept");
  return path;
});

export const runs = defineFunction(text, (program) => execFileSync(program, { encoding: "utf8" }));

/** Starts one that outlives the call. Returns its number. */
export const leaves = defineFunction(text, (seconds) => {
  const child = Bun.spawn(["setsid", "sleep", seconds], { stdio: ["ignore", "ignore", "ignore"] });
  child.unref();
  return String(child.pid);
});

export const connects = defineFunction(text, async (port) => {
  const said = Promise.withResolvers<string>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(port),
    socket: { data: (_, data) => said.resolve(data.toString()), close: () => said.resolve("") },
  });
  const words = await said.promise;
  socket.end();
  return words;
});

export const connectsTo = defineFunction(text, async (unix) => {
  const socket = await Bun.connect({ unix, socket: { data() {} } });
  socket.end();
  return "connected";
});

/** Sends the signal that asks whether a process is there. */
export const signals = defineFunction(text, (pid) => String(process.kill(Number(pid), 0)));

/** The processes that it sees. */
export const sees = defineFunction(text, () =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .join(" "),
);

export const environment = defineFunction(text, () =>
  Object.keys(process.env).toSorted().join(" "),
);

/** By its own wish, which no call survives. */
export const dies = defineFunction(text, () => String(process.kill(process.pid, "SIGKILL")));

export const starts = defineFunction(text, async () => {
  const source = URL.createObjectURL(new Blob(["postMessage('started')"]));
  const worker = new Worker(source);
  const { data } = await new Promise<MessageEvent<string>>((heard) => (worker.onmessage = heard));
  worker.terminate();
  return data;
});
