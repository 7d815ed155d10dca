/**
 * What TypeScript tries from inside: each function is given the facts of the world outside, and says `reached`, or `nothing` where it
 * has found nothing; what stops it is the error that it throws.
 */
import { Database } from "bun:sqlite";
import { execFileSync, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import * as fs from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeHeapSnapshot } from "node:v8";
import { Type, defineFunction } from "rfaas/function";

type Facts = Record<string, string>;
type Outcome = "reached" | "nothing";

const attempt = (run: (facts: Facts) => Outcome | Promise<Outcome>) =>
  defineFunction(
    { input: Type.Record(Type.String(), Type.String()), output: Type.String() },
    async (facts: Facts): Promise<string> => await run(facts),
  );
const finds = (text: string | Uint8Array, facts: Facts): Outcome =>
  Buffer.from(text).includes(facts["secret"]!) ? "reached" : "nothing";

export const readsFile = attempt((facts) =>
  finds(fs.readFileSync(`${facts["outside"]}/secret`), facts),
);
export const readsByBun = attempt(async (facts) =>
  finds(await Bun.file(`${facts["outside"]}/secret`).bytes(), facts),
);
export const mapsFile = attempt((facts) => finds(Bun.mmap(`${facts["outside"]}/secret`), facts));
export const copiesFile = attempt((facts) => {
  const to = join(tmpdir(), `escape-copy-${process.pid}`);
  fs.copyFileSync(`${facts["outside"]}/secret`, to);
  const text = fs.readFileSync(to);
  fs.unlinkSync(to);
  return finds(text, facts);
});
export const opensDatabase = attempt((facts) => {
  const path = `${facts["outside"]}/created-database`;
  using database = new Database(path);
  database.run("CREATE TABLE t (x)");
  fs.unlinkSync(path);
  return "reached";
});
export const importsModule = attempt(async (facts) => {
  const { text } = (await import(`${facts["outside"]}/module.ts`)) as { text: string };
  return finds(text, facts);
});
export const fetchesFile = attempt(async (facts) =>
  finds(await (await fetch(`file://${facts["outside"]}/secret`)).bytes(), facts),
);
export const listsHome = attempt((facts) =>
  fs.readdirSync(facts["outside"]!).includes("secret") ? "reached" : "nothing",
);
export const writesFile = attempt((facts) => {
  fs.appendFileSync(`${facts["outside"]}/target`, "x");
  return "reached";
});
export const removesTree = attempt((facts) => {
  fs.rmSync(`${facts["outside"]}/tree`, { recursive: true });
  fs.mkdirSync(`${facts["outside"]}/tree/within`, { recursive: true });
  return "reached";
});
export const dumpsHeap = attempt((facts) => {
  const path = `${facts["outside"]}/created-heap`;
  writeHeapSnapshot(path);
  fs.unlinkSync(path);
  return "reached";
});
export const watchesFolder = attempt((facts) => {
  fs.watch(facts["outside"]!, () => {}).close();
  return "reached";
});

export const readsAgentEnvironment = attempt((facts) =>
  finds(fs.readFileSync(`/proc/${facts["agent"]}/environ`), facts),
);
export const readsParentEnvironment = attempt((facts) =>
  finds(fs.readFileSync(`/proc/${process.ppid}/environ`), facts),
);
export const readsAgentDescriptors = attempt((facts) =>
  fs.readdirSync(`/proc/${facts["agent"]}/fd`).length > 0 ? "reached" : "nothing",
);
export const readsVictimDescriptors = attempt((facts) =>
  fs.readdirSync(`/proc/${facts["victim"]}/fd`).length > 0 ? "reached" : "nothing",
);

/** All that a process may write, piece by piece. */
function searches(pid: string, needle: string): Outcome {
  const memory = fs.openSync(`/proc/${pid}/mem`, "r");
  const piece = Buffer.alloc(1 << 20);
  for (const line of fs.readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (!from || !to || Number(`0x${to}`) - Number(`0x${from}`) > 1 << 28) continue;
    for (let at = Number(`0x${from}`); at < Number(`0x${to}`); at += piece.length) {
      try {
        const bytes = fs.readSync(memory, piece, 0, piece.length, at);
        if (piece.subarray(0, bytes).includes(needle)) return "reached";
      } catch {
        // Not all that is mapped is there.
      }
    }
  }
  return "nothing";
}
export const searchesVictim = attempt((facts) =>
  searches(facts["victim"]!, facts["reversedVictimSecret"]!.split("").reverse().join("")),
);
/** Its own process has no part of another lease. */
export const searchesAll = attempt((facts) => {
  const needle = facts["reversedVictimSecret"]!.split("").reverse().join("");
  const all = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  for (const pid of all) {
    try {
      const words = fs.readFileSync(`/proc/${pid}/cmdline`, "latin1");
      if (!words.includes("__host")) continue;
      // What it has been told to look for it has itself.
      if (Number(pid) !== process.pid && searches(pid, needle) === "reached") return "reached";
    } catch {
      // It ended meanwhile, or is not to be read.
    }
  }
  return "nothing";
});
export const seesHosts = attempt((facts) =>
  fs.readdirSync("/proc").includes(facts["victim"]!) ? "reached" : "nothing",
);
export const signalsDecoy = attempt((facts) => {
  process.kill(Number(facts["decoy"]), "SIGUSR1");
  return "reached";
});
export const signalsAgent = attempt((facts) => {
  process.kill(Number(facts["agent"]), 0);
  return "reached";
});
export const signalsVictim = attempt((facts) => {
  process.kill(Number(facts["victim"]), 0);
  return "reached";
});

export const rewritesCache = attempt((facts) => {
  const path = `${facts["cache"]}/decoy`;
  fs.chmodSync(path, 0o644);
  fs.writeFileSync(path, "another function");
  return "reached";
});
export const removesCache = attempt((facts) => {
  fs.rmSync(`${facts["cache"]}/decoy-tree`, { recursive: true });
  fs.mkdirSync(`${facts["cache"]}/decoy-tree`);
  return "reached";
});
export const listsCache = attempt((facts) =>
  fs.readdirSync(facts["cache"]!).length > 0 ? "reached" : "nothing",
);
export const readsState = attempt((facts) =>
  finds(fs.readFileSync(`${facts["state"]}/decoy`), facts),
);
export const listsRooms = attempt((facts) =>
  fs.readdirSync(`${facts["state"]}/rooms`).length > 0 ? "reached" : "nothing",
);
export const readsVictimFile = attempt((facts) =>
  finds(fs.readFileSync(facts["victimFile"]!), facts),
);
export const writesVictimFile = attempt((facts) => {
  fs.appendFileSync(facts["victimFile"]!, "x");
  return "reached";
});

export const changesOwnModule = attempt(() => {
  fs.chmodSync(import.meta.path, 0o644);
  fs.appendFileSync(import.meta.path, "\n");
  return "reached";
});
export const replacesOwnModule = attempt(() => {
  const fresh = join(tmpdir(), `escape-fresh-${process.pid}`);
  fs.copyFileSync(import.meta.path, fresh);
  fs.chmodSync(import.meta.dir, 0o755);
  fs.renameSync(fresh, import.meta.path);
  return "reached";
});
/** A link in the place of a folder while another thread of the room looks: the rule follows what is opened, not its name. */
export const racesLinks = attempt((facts) => {
  const [inside, place] = ["inside", "place"].map((name) =>
    join(tmpdir(), `escape-${name}-${process.pid}`),
  ) as [string, string];
  fs.mkdirSync(inside);
  fs.writeFileSync(`${inside}/secret`, "its own");
  let outcome: Outcome = "nothing";
  let stopped: unknown;
  for (let round = 0; round < 50; round++) {
    fs.symlinkSync(round % 2 ? inside : facts["outside"]!, place);
    try {
      if (finds(fs.readFileSync(`${place}/secret`), facts) === "reached") outcome = "reached";
    } catch (error) {
      stopped = error;
    }
    fs.unlinkSync(place);
  }
  fs.rmSync(inside, { recursive: true });
  if (outcome === "nothing" && stopped) throw stopped;
  return outcome;
});

export const connectsByBun = attempt(async (facts) => {
  const heard = Promise.withResolvers<string>();
  await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(facts["tcp"]),
    socket: {
      data: (_, bytes) => heard.resolve(bytes.toString()),
      close: () => heard.resolve(""),
      // The promise of the connection says so.
      connectError() {},
    },
  });
  return finds(await heard.promise, facts);
});
export const fetches = attempt(async (facts): Promise<Outcome> => {
  try {
    await fetch(`http://127.0.0.1:${facts["tcp"]}/`);
  } catch (error) {
    // The decoy speaks no HTTP, which is told by those alone who have reached it.
    const { code = "" } = error as { code?: string };
    if (/InvalidHTTPResponse|ConnectionClosed|Malformed|ECONNRESET/.test(code)) return "reached";
    throw error;
  }
  return "reached";
});
export const connectsToPath = attempt(async (facts): Promise<Outcome> => {
  const heard = Promise.withResolvers<string>();
  const socket = createConnection(facts["socket"]!);
  socket.on("data", (bytes) => heard.resolve(bytes.toString()));
  socket.on("error", (error) => heard.reject(error));
  return finds(await heard.promise, facts);
});
export const connectsToNode = attempt(async (facts): Promise<Outcome> => {
  const socket = await Bun.connect({ unix: facts["node"]!, socket: { data() {} } });
  socket.end();
  return "reached";
});
export const listens = attempt(() => {
  Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }).stop(true);
  return "reached";
});
export const serves = attempt(async (): Promise<Outcome> => {
  await Bun.serve({ port: 0, fetch: () => new Response("here") }).stop(true);
  return "reached";
});
export const sendsDatagram = attempt(async (facts) => {
  const socket = createSocket("udp4");
  const sent = Promise.withResolvers<Outcome>();
  socket.on("error", (error) => sent.reject(error));
  socket.send("x", Number(facts["udp"]), "127.0.0.1", (error) =>
    error ? sent.reject(error) : sent.resolve("reached"),
  );
  try {
    return await sent.promise;
  } finally {
    try {
      socket.close();
    } catch {
      // It was never opened.
    }
  }
});

export const spawnsByBun = attempt(() =>
  Bun.spawnSync(["/bin/true"]).exitCode === 0 ? "reached" : "nothing",
);
export const spawnsByNode = attempt(() => {
  const { error, status } = spawnSync("/bin/true");
  if (error) throw error;
  return status === 0 ? "reached" : "nothing";
});
export const runsShell = attempt((facts) =>
  finds(execFileSync("/bin/cat", [`${facts["outside"]}/secret`]), facts),
);
export const usesShell = attempt(async () => {
  const { exitCode } = await Bun.$`/bin/true`.quiet().nothrow();
  return exitCode === 0 ? "reached" : "nothing";
});
/** One that is to outlive the lease. */
export const leavesDaemon = attempt(() => {
  const child = Bun.spawn(["/bin/sleep", "5"], { stdio: ["ignore", "ignore", "ignore"] });
  child.unref();
  return child.pid > 0 ? "reached" : "nothing";
});
export const callsLibrary = attempt(async (facts) => {
  const { dlopen } = await import("bun:ffi");
  const { symbols } = dlopen("libc.so.6", { system: { args: ["cstring"], returns: "i32" } });
  return symbols.system(Buffer.from(`test -r ${facts["outside"]}/secret\0`)) === 0
    ? "reached"
    : "nothing";
});

/** Nothing of the node, nor of who started it, but what rooms are promised. */
export const readsEnvironment = attempt((facts) => {
  const all = fs.readFileSync("/proc/self/environ", "latin1");
  return finds(all + JSON.stringify(process.env) + JSON.stringify(Bun.env), facts);
});
/** A file outside of its folders that it was born with, or has come by. */
export const holdsFiles = attempt((facts) => {
  let opened: number | undefined;
  try {
    opened = fs.openSync(`${facts["outside"]}/secret`, "r");
  } catch {
    // Then it has what it was born with.
  }
  for (const fd of fs.readdirSync("/proc/self/fd")) {
    try {
      const path = fs.readlinkSync(`/proc/self/fd/${fd}`);
      const places = [facts["outside"]!, facts["state"]!, facts["cache"]!];
      if (places.some((place) => path.startsWith(place)) && !path.includes("/rooms/"))
        return "reached";
    } catch {
      // The descriptor by which the folder was read.
    }
  }
  if (opened !== undefined) fs.closeSync(opened);
  return "nothing";
});
