/** The compiled executable from an empty directory, as a newcomer uses and misuses it. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { buildShim } from "../../ffi/build.ts";
import { RFAAS, rfaas } from "../support/executable.ts";
import { KILLED } from "../support/fabric.ts";
import { leftovers } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";

const DOUBLE = `import { twice } from "./helper.ts";
import { label } from "labels";
enum Factor { Two = 2 }
export function double(input: Uint8Array, output: Uint8Array): number {
  const n: number = JSON.parse(new TextDecoder().decode(input));
  if (Factor.Two !== twice(1)) throw new Error(label);
  return new TextEncoder().encodeInto(JSON.stringify(twice(n)), output).written;
}
export async function reverse(input: Uint8Array, output: Uint8Array): Promise<number> {
  output.set(input.slice().reverse());
  return input.length;
}
export function log(input: Uint8Array): number {
  console.log("printed by the function");
  return 0;
}
export function explode(): number {
  throw new RangeError("boom");
}
export function die(): number {
  process.kill(process.pid, "SIGKILL");
  for (;;);
}
export function hang(): number {
  for (;;);
}
`;

/** A project with a module of its own, an import, and a package in node_modules. */
function project(): Scratch {
  const scratch = new Scratch();
  scratch.file("fn.ts", DOUBLE);
  scratch.file("helper.ts", "export const twice = (n: number): number => 2 * n;\n");
  mkdirSync(scratch.join("node_modules/labels"), { recursive: true });
  scratch.file(
    "node_modules/labels/package.json",
    '{"name":"labels","exports":{".":"./lib/main.js"}}',
  );
  mkdirSync(scratch.join("node_modules/labels/lib"));
  scratch.file("node_modules/labels/lib/main.js", "exports.label = 'from a package';\n");
  return scratch;
}

describe("rfaas", () => {
  test("tells its version, and helps", async () => {
    const version = await rfaas(["--version"]);
    expect(version.stdout).toMatch(/^rfaas \d+\.\d+\.\d+\n$/);
    expect(version.exitCode).toBe(0);
    for (const args of [[], ["help"], ["--help"]]) {
      const { stdout, exitCode } = await rfaas(args);
      expect(exitCode).toBe(0);
      for (const word of ["NAME", "SYNOPSIS", "EXIT STATUS", "serve", "invoke", "bench", "doctor"])
        expect(stdout).toContain(word);
      expect(stdout).not.toContain("__host");
    }
    for (const command of ["serve", "invoke", "bench", "doctor"]) {
      const { stdout } = await rfaas(["help", command]);
      expect(stdout).toContain(`rfaas ${command}`);
      expect((await rfaas([command, "--help"])).stdout).toBe(stdout);
    }
  });

  const mistakes: [args: string[], says: string][] = [
    [["sevre"], 'did you mean "serve"?'],
    [["frobnicate"], "unknown command"],
    [["--verison"], "unknown option"],
    [["help", "invke"], 'did you mean "invoke"?'],
    [["serve", "--coers", "2"], "did you mean --cores?"],
    [["serve", "--cores", "many"], "--cores must be a whole number"],
    [["serve", "--memory", "lots"], "--memory must be a size"],
    [["serve", "--listen", "nowhere"], "is no address"],
    [["serve", "--polling", "tepid"], "must be hot, warm or adaptive"],
    [["serve", "--manager", "nowhere"], "is no address"],
    [["serve", "--manager", "127.0.0.1:1", "--name", "a b"], "--name must be 1 to 128 letters"],
    [["ps", "extra"], 'takes no argument "extra"'],
    [["ps"], "give --manager or --node, or set RFAAS_MANAGER or RFAAS_NODE"],
    [["serve", "extra"], 'takes no argument "extra"'],
    [["invoke"], "invoke needs a module"],
    [["invoke", "a.ts", "b.ts"], "is too many; give the function's input with --json or --input"],
    [["invoke", "a.ts", "--json", "{not json"], "--json is not JSON"],
    [["invoke", "a.ts", "--json", "1", "--input", "x"], "exclude each other"],
    [["invoke", "a.ts", "-n", "0"], "whole number from 1"],
    [["bench"], "latency, throughput, bandwidth, cold or density"],
    [["bench", "speed"], '"speed" cannot be measured'],
    [["bench", "latency", "-s", "2GiB"], "at most 1 GiB"],
    [["bench", "latency", "--fabric", "pigeon"], "must be shm, verbs, "],
    [["invoke", "f.ts", "--fabric", "shm", "--device", "mlx5_0"], "--device"],
    [["bench", "bandwidth", "--fabric", "shm"], "shared memory moves no bytes"],
    [["bench", "latency", "--json", "--csv"], "exclude each other"],
    [["bench", "latency", "--pairs", "2", "--duration", "1s"], "exclude each other"],
    [["bench", "latency", "--module", "lib.so"], "--module needs a function"],
    [["bench", "cold", "--module", "lib.so#echo"], "--module is for latency"],
    [["bench", "cold", "--duration", "1s"], "--duration is for latency, throughput, bandwidth;"],
    [["bench", "throughput", "-s", "1GiB", "-q"], "choose a smaller --size, --depth or --workers"],
    [["bench", "throughput", "--map", "--many"], "--map and --many exclude each other"],
    [["doctor", "now"], 'takes no argument "now"'],
  ];
  for (const [args, says] of mistakes) {
    test(`"rfaas ${args.join(" ")}" is a usage error that helps`, async () => {
      const { exitCode, stdout, stderr } = await rfaas(args);
      expect(stderr).toContain(says);
      expect(exitCode).toBe(2);
      expect(stdout).toBe("");
      expect(stderr).not.toContain("    at ");
    });
  }
});

test("what one rfaas hands to another is whole, however slowly it is read", () => {
  // Byte by byte at first: meanwhile the pipe is full.
  const slowly = '"$0" __shim | { dd bs=1 count=90000; cat; }';
  const { stdout, exitCode } = Bun.spawnSync(["sh", "-c", slowly, RFAAS]);
  expect(exitCode).toBe(0);
  expect(stdout.equals(readFileSync(buildShim()))).toBe(true);
});

describe("rfaas invoke", () => {
  test("runs a module with its own imports and packages, from any directory", async () => {
    using scratch = project();
    const fromElsewhere = await rfaas([
      "invoke",
      join(scratch.path, "fn.ts#double"),
      "--json",
      "21",
    ]);
    expect(fromElsewhere).toMatchObject({ exitCode: 0, stdout: "42\n" });
    const fromThere = await rfaas(["invoke", "fn.ts#double", "--json", "[1]"], {
      cwd: scratch.path,
    });
    expect(fromThere.exitCode).toBe(0);
  });

  test("finds a module whose path has spaces and a # in it", async () => {
    using scratch = project();
    mkdirSync(scratch.join("a b#c"));
    const path = scratch.file(
      "a b#c/f n.ts",
      "export const one = (_: unknown, output: Uint8Array) => { output[0] = 49; return 1; };\n",
    );
    for (const target of [path, `${path}#one`])
      expect((await rfaas(["invoke", target])).stdout).toBe("1");
    scratch.file(
      "x#y.ts",
      "export const two = (_: unknown, output: Uint8Array) => { output[0] = 50; return 1; };\n",
    );
    expect((await rfaas(["invoke", "x#y.ts"], { cwd: scratch.path })).stdout).toBe("2");
    expect((await rfaas(["invoke", "x#y.ts#two"], { cwd: scratch.path })).stdout).toBe("2");
  });

  test("keeps every digit of --json", async () => {
    using scratch = project();
    const { stdout } = await rfaas(["invoke", "fn.ts#reverse", "--json", "12345678901234567890"], {
      cwd: scratch.path,
    });
    expect(stdout).toBe("09876543210987654321\n");
  });

  test("takes its input from a file or stdin and writes its output to a file or stdout, byte for byte", async () => {
    using scratch = project();
    const cwd = scratch.path;
    scratch.file("in", "abc\n");
    expect((await rfaas(["invoke", "fn.ts#reverse", "--input", "in"], { cwd })).stdout).toBe(
      "\ncba",
    );
    expect(
      (await rfaas(["invoke", "fn.ts#reverse", "--input", "-"], { cwd, stdin: "xyz" })).stdout,
    ).toBe("zyx");
    const { stdout, exitCode } = await rfaas(
      ["invoke", "fn.ts#reverse", "--input", "in", "--output", "out"],
      { cwd },
    );
    expect([stdout, exitCode]).toEqual(["", 0]);
    expect(readFileSync(scratch.join("out"), "utf8")).toBe("\ncba");
  });

  test("repeats calls over several workers and prints the last result once", async () => {
    using scratch = project();
    const { stdout, stderr } = await rfaas(
      ["invoke", "fn.ts#double", "--json", "4", "-n", "1000", "--workers", "2", "--timings"],
      { cwd: scratch.path },
    );
    expect(stdout).toBe("8\n");
    expect(stderr).toContain("1000 calls");
    expect(stderr).toContain("ran ");
  });

  test("keeps what functions print out of the data", async () => {
    using scratch = project();
    const { stdout, stderr } = await rfaas(["invoke", "fn.ts#log"], { cwd: scratch.path });
    expect(stdout).toBe("");
    expect(stderr).toContain("printed by the function");
  });

  const failures: [args: string[], exitCode: number, says: string | RegExp][] = [
    [["no-such.ts"], 1, "no such file"],
    [["."], 1, "is no file"],
    [["fn.ts"], 2, "choose one: rfaas invoke fn.ts#"],
    [["fn.ts#"], 2, "names no function"],
    [["fn.ts#die"], 4, KILLED],
    [["fn.ts#nope"], 2, 'exports no function "nope"; it has: die, double'],
    [["fn.ts#explode"], 1, "RangeError: boom"],
    [["fn.ts#hang", "--deadline", "200"], 124, "did not finish within 200 ms"],
    [["fn.ts#reverse", "--input", "no-such"], 1, "cannot read --input no-such"],
    [["fn.ts#reverse", "--output", "no/such/folder"], 1, "cannot write --output"],
    [["fn.ts#reverse", "--json", '"0123456789"', "--output-size", "4"], 1, "RangeError"],
    [["fn.ts#double", "--node", "/no/such.sock"], 3, "no node answers at /no/such.sock"],
    [["fn.ts#double", "--node", "127.0.0.1:1"], 3, "start one with: rfaas serve"],
    [["fn.ts#double", "--workers", "100"], 3, "cores for leases and 100 are asked for"],
  ];
  for (const [args, code, says] of failures) {
    test(`${args.join(" ")} ends with exit code ${code} and says why`, async () => {
      using scratch = project();
      const { exitCode, stdout, stderr } = await rfaas(["invoke", ...args], { cwd: scratch.path });
      expect(stderr).toMatch(says);
      expect(exitCode).toBe(code);
      expect(stdout).toBe("");
    });
  }

  test("shows a function's stack with the user's file and line, and none of its own", async () => {
    using scratch = project();
    const { stderr } = await rfaas(["invoke", "fn.ts#explode"], { cwd: scratch.path });
    expect(stderr).toContain("fn.ts:18");
    expect(stderr).not.toContain("$bunfs");
  });

  test("does not pick up a .env or a bunfig.toml of the folder it is started in", async () => {
    using scratch = project();
    scratch.file("bunfig.toml", 'preload = ["./preload.ts"]\n');
    scratch.file("preload.ts", "throw new Error('preloaded');\n");
    scratch.file(".env", "RFAAS_NODE=/no/such.sock\n");
    expect(
      (await rfaas(["invoke", "fn.ts#double", "--json", "1"], { cwd: scratch.path })).stdout,
    ).toBe("2\n");
  });

  test("says so when the output's disk is full", async () => {
    using scratch = project();
    const { exitCode, stderr } = await rfaas(
      ["invoke", "fn.ts#double", "--json", "1", "--output", "/dev/full"],
      {
        cwd: scratch.path,
      },
    );
    expect(stderr).toContain("could not be written");
    expect(exitCode).toBe(1);
  });

  test("leaves no file behind, in the temp folder or elsewhere", async () => {
    using scratch = project();
    const before = leftovers();
    await rfaas(["invoke", "fn.ts#double", "--json", "1"], { cwd: scratch.path });
    expect(leftovers()).toEqual(before);
    expect(readdirSync(scratch.path).sort()).toEqual(["fn.ts", "helper.ts", "node_modules"]);
  });

  test("works where there is no writable temp folder", async () => {
    using scratch = project();
    const { stdout } = await rfaas(["invoke", "fn.ts#double", "--json", "2"], {
      cwd: scratch.path,
      env: { TMPDIR: "/no/such/folder", BUN_TMPDIR: "/no/such/folder" },
    });
    expect(stdout).toBe("4\n");
  });
});

describe("rfaas doctor", () => {
  test("finds what this machine has, as lines and as JSON", async () => {
    const lines = await rfaas(["doctor"]);
    expect(lines.exitCode).toBe(0);
    expect(lines.stdout).toContain("fabric shm");
    const { findings } = JSON.parse((await rfaas(["doctor", "--json"])).stdout);
    const names = findings.map((finding: { name: string }) => finding.name);
    expect(names).toEqual(
      expect.arrayContaining(["versions", "shim", "fabric shm", "cores", "memlock", "temp folder"]),
    );
  });

  test("says that the shim is missing when it is", async () => {
    const { exitCode, stdout } = await rfaas(["doctor"], { env: { RFAAS_SHIM: "/no/such.so" } });
    expect(exitCode).toBe(1);
    expect(stdout).toContain("MISS");
  });
});

describe("rfaas bench", () => {
  const FIELDS = [
    "benchmark",
    "fabric",
    "polling",
    "bytes",
    "iterations",
    "p50_ns",
    "p99_ns",
    "p999_ns",
    "min_ns",
    "mean_ns",
    "baseline",
    "overhead_p50_ns",
    "ratio_p50",
    "environment",
  ];
  const smoke: [args: string[], more: string[]][] = [
    [
      ["latency", "-s", "8", "-n", "200", "--pairs", "2"],
      ["level", "levels", "sweep"],
    ],
    [
      ["latency", "-s", "1KiB", "-n", "200", "--pairs", "2", "--payload", "touch"],
      ["payload", "sweep"],
    ],
    [
      ["density", "--leases", "2", "--workers", "2", "--idle", "100ms"],
      ["host_pss_bytes", "worker_pss_bytes", "idle_cpu_percent", "idle_wakeups_per_s", "failed"],
    ],
    [["latency", "--polling", "warm", "-n", "20", "--pairs", "2"], []],
    [
      ["latency", "--polling", "adaptive", "--rate", "1000", "-n", "50", "--pairs", "2"],
      ["rate_per_s", "cpu_percent"],
    ],
    [
      ["throughput", "-s", "64", "--depth", "8", "-n", "2000", "--pairs", "2"],
      ["calls_per_s", "depth", "workers"],
    ],
    [
      ["throughput", "--map", "--workers", "2", "--depth", "8", "-n", "2000", "--pairs", "2"],
      ["calls_per_s", "depth", "workers"],
    ],
    [
      ["cold", "-n", "2"],
      ["phases", "host_at_first_result", "client_minor_faults", "bare_thread"],
    ],
  ];
  for (const [args, more] of smoke) {
    test(`${args.join(" ")} prints one JSON object a row, with every field`, async () => {
      const { exitCode, stdout, stderr } = await rfaas(["bench", ...args, "--json"], {
        limitMs: 60_000,
      });
      expect(stderr).not.toContain("ERROR");
      expect(exitCode).toBe(0);
      const rows = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) {
        expect(Object.keys(row)).toEqual(expect.arrayContaining([...FIELDS, ...more]));
        expect(row.p50_ns).toBeGreaterThan(0);
        expect(row.baseline.p50_ns).toBeGreaterThan(0);
      }
    }, 60_000);
  }

  test("cold has a row for hosts that wait, are started and were kept, and one for leases at once", async () => {
    const args = ["bench", "cold", "-n", "2", "--leases", "4", "--json"];
    const { exitCode, stdout } = await rfaas(args, { limitMs: 60_000 });
    expect(exitCode).toBe(0);
    const rows = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const modes = rows.map(({ prewarmed, kept, at_once }) => [prewarmed, kept, at_once?.leases]);
    expect(modes).toEqual([
      [true, false, undefined],
      [false, false, undefined],
      [false, true, undefined],
      [false, true, 4],
    ]);
    const kept = rows[2];
    // It has loaded its module before.
    expect(kept.phases.load).toBe(0);
    expect(kept.host_at_first_result.minor_faults).toBeGreaterThanOrEqual(
      kept.host_before.minor_faults,
    );
    expect(rows[3]).toMatchObject({ iterations: 4, at_once: { failed: 0 } });
    expect(rows[3].at_once.last_ns).toBeGreaterThanOrEqual(rows[3].p50_ns);
  }, 60_000);

  test("names the process that uses the machine when it starts, in each row, and says on stderr that there is one", async () => {
    await using busy = Bun.spawn(["sh", "-c", "while :; do :; done"]);
    const args = ["bench", "latency", "-n", "31", "--duration", "1ms", "--json"];
    const { exitCode, stdout, stderr } = await rfaas(args, { limitMs: 60_000 });
    busy.kill("SIGKILL");
    expect(exitCode).toBe(0);
    // On a machine that is busy anyway, others may be named before it.
    expect(stderr).toMatch(/the machine is busy, .*, \d+ % of a core/);
    const row = JSON.parse(stdout);
    expect(row.pairs).toBe(1);
    expect(row.busy).toContainEqual({
      ...{ pid: busy.pid, name: expect.any(String), cores: expect.any(Number) },
    });
  }, 60_000);

  test("prints perftest's columns, or CSV", async () => {
    const args = ["bench", "latency", "-n", "100", "--pairs", "1"];
    const table = await rfaas(args);
    const columns = ["#", "t_min[usec]", "t_typical[usec]", "t_stdev[usec]", "99.9%[usec]"];
    for (const column of [...columns, "floor[usec]", "floor_99%[usec]"])
      expect(table.stdout).toContain(column);
    const [header, row] = (await rfaas([...args, "--csv"])).stdout.trim().split("\n");
    expect(row!.split(",").length).toBe(header!.split(",").length);
  });
});
