/**
 * How much more than its heap a lease gets, and how long it keeps that, by what it takes memory as:
 *
 *     bun test/heap/measure.ts [--limits watch|cgroup] [--rounds 5] [--as 65534] [--sandbox process]
 *
 * The kernel's own count of a control group is read a thousand times a second, so it needs root and the memory controller; the node may be
 * another user's. It prints a line for each way, and asserts nothing, since it is of time.
 */
import { chownSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "../../bench/statistics.ts";
import { groups } from "../../src/base/machine/cgroup.ts";
import { type Invoker, invoker } from "../../src/index.ts";
import { buildLibrary } from "../support/compilers.ts";
import { FUNCTIONS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const MIB = 2 ** 20;
const [MEMORY, HEAP] = [16 * MIB, 48 * MIB];
const EATEN_MIB = 500;
/** Threads whose stacks are written to their ends, one after another. */
const STACKS = `
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
static void *fill(void *none) {
  volatile char stack[4 << 20];
  for (unsigned at = 0; at < sizeof stack; at += 1024) stack[at] = 1;
  pause();
  return none;
}
uint32_t stacks(void *input, uint32_t bytes, void *output) {
  (void)bytes, (void)output;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 5 << 20);
  for (double taken = 0; taken < *(double *)input; taken += 4) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, fill, 0) != 0) usleep(1000);
  }
  return 0;
}`;
const WAYS = ["objects", "typedArrays", "native", "mappings", "memories", "stacks", "children"];

const { values } = parseArgs({
  options: {
    limits: { type: "string", default: "watch" },
    rounds: { type: "string", default: "5" },
    as: { type: "string" },
    sandbox: { type: "string", default: "process" },
    way: { type: "string", multiple: true, default: WAYS },
  },
});

interface Seen {
  peakMib: number;
  aboveMs: number;
  widestMs: number;
  error: string;
}

/** The folder of the version and controller that counts memory, and what it calls that. */
function counted(): { top: string; name: string; usage: string } {
  const all = groups("/");
  const first = all.find(
    ({ version, controllers }) => version === 1 && controllers.includes("memory"),
  );
  if (first) return { top: first.folders.at(-1)!, name: "memory", usage: "memory.usage_in_bytes" };
  const second = all.find(({ version }) => version === 2)!;
  return { top: second.folders.at(-1)!, name: "", usage: "memory.current" };
}

const { top, name: controller, usage } = counted();
const groupOf = (pid: number): string => {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
  const line = lines.find((each) => each.split(":")[1]!.split(",").includes(controller))!;
  return join(top, line.split(":").slice(2).join(":"));
};

async function measure(rf: Invoker, way: string, library: string, round: number): Promise<Seen> {
  const module = way === "stacks" ? library : join(FUNCTIONS, "eats.ts");
  const lease = await rf.allocate(module, {
    ...{ memory: MEMORY, heap: HEAP, polling: "warm", processes: way === "children" },
  });
  const own = join(top, `rfaas-measured-${process.pid}-${way}-${round}`);
  const ours = values.limits === "watch";
  if (ours) {
    mkdirSync(own);
    writeFileSync(join(own, "cgroup.procs"), String(lease.hostPid));
  }
  const file = join(ours ? own : groupOf(lease.hostPid), usage);
  const bare = Number(readFileSync(file, "utf8"));
  // Registered memory is not written here, so what is above the bare host is heap.
  const bound = ours ? bare + HEAP : bare + HEAP + MEMORY - MIB;
  const sampler = Bun.spawn(
    [process.execPath, join(import.meta.dir, "sampler.ts"), file, String(bound)],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const said = sampler.stdout.pipeThrough(new TextDecoderStream()).getReader();
  await said.read();
  const input = lease.input(Float64Array, 1).fill(EATEN_MIB);
  const output = lease.output(Uint8Array, 8);
  const error = await lease.submit(way, input, output).then(
    () => "none",
    (thrown: unknown) => String((thrown as { code?: string }).code),
  );
  await Bun.sleep(100);
  void sampler.stdin.write("end");
  void sampler.stdin.flush();
  let text = "";
  for (let part = await said.read(); !part.done; part = await said.read()) text += part.value;
  const { peak, aboveMs, widestMs } = JSON.parse(text);
  await lease.release().catch(() => {});
  if (ours) await until(() => removed(own), "its group is empty");
  return { peakMib: (peak - bare) / MIB, aboveMs, widestMs, error };
}

function removed(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch {
    return false;
  }
}

using scratch = new Scratch();
const library = buildLibrary(scratch, "stacks", STACKS, ["-pthread"]);
const other =
  values.as === undefined
    ? []
    : ["setpriv", "--reuid", values.as, "--regid", values.as, "--clear-groups"];
const home = scratch.join("home");
mkdirSync(home);
if (values.as !== undefined)
  for (const path of [scratch.path, home]) chownSync(path, Number(values.as), 0);
const places = [
  `HOME=${home}`,
  `TMPDIR=${home}`,
  `RFAAS_LIMITS=${values.limits}`,
  "XDG_CACHE_HOME=",
  "XDG_STATE_HOME=",
];
const options = [
  "--cores",
  "2",
  "--memory",
  "1GiB",
  "--sandbox",
  values.sandbox,
  "--allow-processes",
];
await using node = await ServedNode.start(
  "127.0.0.1:0",
  [...options, ...(values.as === undefined ? [] : ["--allow-remote", "--insecure"])],
  ["env", ...places, ...other],
);
await using rf = await invoker({ node: `127.0.0.1:${node.port}`, fabric: "shm" });
for (const way of values.way) {
  const seen: Seen[] = [];
  for (let round = 0; round < Number(values.rounds); round++)
    seen.push(await measure(rf, way, library, round));
  const all = (what: "peakMib" | "aboveMs" | "widestMs"): string => {
    const sorted = seen.map((each) => each[what]).toSorted((a, b) => a - b);
    return `${median(sorted).toFixed(0)} (${sorted.map((value) => value.toFixed(0)).join(" ")})`;
  };
  console.log(
    `${way.padEnd(12)} most ${all("peakMib")} MiB, above its bound for ${all("aboveMs")} ms, looks ${all("widestMs")} ms apart; ${[...new Set(seen.map(({ error }) => error))].join(", ")}`,
  );
}
