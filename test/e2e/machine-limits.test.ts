/** What a node offers where an affinity mask or a real cgroup limits it. Groups are made by root only, and removed again. */
import { afterAll, describe, expect, test } from "bun:test";
import { accessSync, constants, existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { usableCpus } from "../../ffi/system.ts";
import { RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const MIB = 1024 * 1024;
const scratch = new Scratch();
const made: string[] = [];
afterAll(async () => {
  scratch[Symbol.dispose]();
  // A group may be removed when its last process is gone.
  for (const folder of made.reverse()) await until(() => removed(folder), `${folder} is removed`);
});

function removed(folder: string): boolean {
  try {
    rmdirSync(folder);
  } catch {
    return !existsSync(folder);
  }
  return true;
}

/** Makes a group below the machine's; undefined where this process may not, or the controller is not there. */
function group(controller: string, name: string, files: Record<string, string>) {
  const v1 = `/sys/fs/cgroup/${controller}`;
  const top = existsSync(v1) ? v1 : "/sys/fs/cgroup";
  try {
    accessSync(join(top, "cgroup.procs"), constants.W_OK);
    const folder = join(top, `rfaas-test-${process.pid}-${name}`);
    if (!existsSync(folder)) {
      mkdirSync(folder);
      made.push(folder);
    }
    for (const [file, text] of Object.entries(files))
      if (existsSync(join(folder, file))) writeFileSync(join(folder, file), text);
    if (!Object.keys(files).some((file) => existsSync(join(folder, file)))) return undefined;
    return folder;
  } catch {
    return undefined;
  }
}

/** `command`, as a member of the groups. */
const inside = (folders: readonly string[], command: readonly string[]): string[] => [
  "sh",
  "-c",
  `${folders.map((folder) => `echo $$ > ${folder}/cgroup.procs; `).join("")}exec "$@"`,
  "sh",
  ...command,
];

interface Finding {
  name: string;
  state: string;
  found: string;
}

function doctor(
  before: readonly string[] | ((command: string[]) => string[]),
): Map<string, Finding> {
  const command = [RFAAS, "doctor", "--json"];
  const whole = typeof before === "function" ? before(command) : [...before, ...command];
  const { stdout, stderr } = Bun.spawnSync(whole, { stderr: "pipe" });
  if (!stdout.includes("{")) throw new Error(`${whole.join(" ")}: ${stderr}`);
  const { findings } = JSON.parse(stdout.toString()) as { findings: Finding[] };
  return new Map(findings.map((finding) => [finding.name, finding]));
}

/** What `serve` says when it serves. */
async function served(wrap: (command: string[]) => string[]): Promise<string> {
  const address = scratch.join(`${crypto.randomUUID()}.sock`);
  const command = wrap([RFAAS, "serve", "--listen", address, "--prewarm", "0"]);
  const child = Bun.spawn(command, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) said += text;
  })();
  try {
    await until(
      () => {
        if (child.exitCode !== null) throw new Error(`serve ended: ${said}`);
        return said.includes("reach it with");
      },
      "it serves",
      60_000,
    );
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    await reading;
  }
  return said;
}

const skip = (why: string): void => console.error(`SKIPPED: ${why}`);

describe("the affinity mask", () => {
  test("is what serve and doctor offer, and they say so", async () => {
    const cpu = usableCpus()[0]!;
    const wrap = (command: string[]) => ["taskset", "-c", String(cpu), ...command];
    const cores = doctor(wrap).get("cores")!;
    expect(cores.found).toContain(`1 to lease: the affinity mask leaves CPUs ${cpu}`);
    const said = await served(wrap);
    expect(said).toContain("serving 1 core ");
    expect(said).toContain(`the affinity mask leaves CPUs ${cpu}`);
  }, 120_000);
});

describe("a cgroup", () => {
  test("that limits memory limits what serve and doctor offer", async () => {
    const files = { "memory.limit_in_bytes": `${512 * MIB}`, "memory.max": `${512 * MIB}` };
    const folder = group("memory", "memory", files);
    if (!folder) return skip("cgroups for memory cannot be made here");
    const wrap = (command: string[]) => inside([folder], command);
    const memory = doctor(wrap).get("memory")!;
    expect(memory.found).toStartWith("512 MiB: /sys/fs/cgroup");
    expect(memory.found).toContain(folder);
    const said = await served(wrap);
    expect(said).toContain("256 MiB");
    expect(said).toContain(folder);
  }, 120_000);

  test("limits by those above it, too", () => {
    const outer = group("memory", "outer", {
      "memory.limit_in_bytes": `${512 * MIB}`,
      "memory.max": `${512 * MIB}`,
    });
    if (!outer) return skip("cgroups for memory cannot be made here");
    const inner = join(outer, "inner");
    mkdirSync(inner);
    made.push(inner);
    const { found } = doctor((command) => inside([inner], command)).get("memory")!;
    expect(found).toStartWith("512 MiB: ");
  }, 60_000);

  test("that limits CPU time limits the cores", async () => {
    const folder = group("cpu", "cpu", {
      "cpu.cfs_quota_us": "150000",
      "cpu.max": "150000 100000",
    });
    if (!folder) return skip("cgroups for CPU time cannot be made here");
    const wrap = (command: string[]) => inside([folder], command);
    const { found, state } = doctor(wrap).get("cores")!;
    expect(found).toContain("1 to lease");
    expect(found).toContain("gives the time of 1.5 CPUs");
    expect(state).toBe("slow");
    expect(await served(wrap)).toContain("serving 1 core ");
  }, 120_000);

  test("that is bound to some CPUs is named for it, and not the mask that follows from it", () => {
    const cpu = String(usableCpus()[0]);
    const files = { "cpuset.mems": "0", "cpuset.cpus": cpu };
    const folder = group("cpuset", "cpuset", files);
    if (!folder) return skip("cgroups for CPUs cannot be made here");
    const { found } = doctor((command) => inside([folder], command)).get("cores")!;
    expect(found).toContain(`1 usable CPUs (${cpu}), 1 to lease: ${folder}/cpuset.`);
    expect(found).toContain(`leaves CPUs ${cpu}`);
  }, 60_000);

  test("that limits processes is told of", () => {
    const folder = group("pids", "pids", { "pids.max": "100" });
    if (!folder) return skip("cgroups for processes cannot be made here");
    const { found, state } = doctor((command) => inside([folder], command)).get("tasks")!;
    expect(found).toContain(`${folder}/pids.max is 100`);
    expect(state).toBe("slow");
  }, 60_000);
});
