/** The executable for arm64, built here and run in the emulator: commands, and a client, a node, hosts and workers that are all its own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildExecutable } from "../../build/executable.ts";
import { OLDEST_GLIBC } from "../../build/pack/system/glibc.ts";
import { buildShim } from "../../ffi/build.ts";
import { FUNCTIONS, ROOT, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { Emulator, whyNot } from "./emulator.ts";

const LIMIT_MS = 600_000;
const PATIENT = ["--load-timeout", "5m"];
const DOUBLE = `import { Type, defineFunction } from "rfaas/function";
export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);
`;

const PROGRAM = `import { invoker } from "rfaas";
await using rf = await invoker({ connectTimeoutMs: ${LIMIT_MS} });
await using lease = await rf.allocate("./fn.ts", { loadTimeoutMs: ${LIMIT_MS} });
const double = lease.function("double");
console.log(await double(21), ...process.argv.slice(2));
`;

describe.skipIf(whyNot() !== null)("the executable for arm64", () => {
  const scratch = new Scratch();
  let emulator: Emulator;
  let executable: string;
  beforeAll(async () => {
    emulator = new Emulator();
    executable = emulator.starter(await buildExecutable("linux-arm64"));
  }, LIMIT_MS);
  afterAll(() => {
    emulator?.[Symbol.dispose]();
    scratch[Symbol.dispose]();
  });

  const run = (args: readonly string[], stdin?: string) =>
    rfaas(args, {
      ...{ executable, cwd: scratch.path, limitMs: LIMIT_MS },
      env: { RFAAS_EXECUTABLE: executable },
      ...(stdin !== undefined && { stdin }),
    });

  test("asks for no newer glibc than packages declare", () => {
    const file = join(ROOT, "dist", "linux-arm64", "rfaas");
    const { stdout } = Bun.spawnSync(["aarch64-linux-gnu-readelf", "--dyn-syms", "-W", file]);
    const asked = [...stdout.toString().matchAll(/@GLIBC_([\d.]+)/g)].map(
      ([, version]) => version!,
    );
    expect(asked.length).toBeGreaterThan(50);
    expect([...asked, OLDEST_GLIBC].toSorted(Bun.semver.order).at(-1)).toBe(OLDEST_GLIBC);
  });

  test("has the shim for arm64 inside of it, and hands it out", () => {
    const { stdout, exitCode } = Bun.spawnSync([executable, "__shim"]);
    expect(exitCode).toBe(0);
    expect(stdout.equals(readFileSync(buildShim("arm64")))).toBe(true);
  });

  test(
    "tells its version, from code that was compiled on x86-64",
    async () => {
      const { stdout, stderr } = await rfaas(["--version"], {
        ...{ executable, limitMs: LIMIT_MS, env: { BUN_JSC_verboseDiskCache: "1" } },
      });
      expect(`${stdout}${stderr}`).toMatch(/^rfaas \d+\.\d+\.\d+$/m);
      // The engine took what the build had compiled.
      expect(`${stdout}${stderr}`).toContain("Cache hit");
    },
    LIMIT_MS,
  );

  test(
    "opens its own shim, which finds what shared memory needs",
    async () => {
      const { stdout } = await run(["doctor", "--json"]);
      const { findings } = JSON.parse(stdout) as { findings: { name: string; state: string }[] };
      const state = (name: string) => findings.find((finding) => finding.name === name)?.state;
      expect([state("shim"), state("fabric shm"), state("clock")]).toEqual(["ok", "ok", "ok"]);
    },
    LIMIT_MS,
  );

  test(
    "calls a function on a value, on a private node",
    async () => {
      scratch.file("fn.ts", DOUBLE);
      const call = () => run(["invoke", "fn.ts#double", "--json", "21", ...PATIENT]);
      let { stdout, stderr } = await call();
      // On a busy machine an emulated node can take longer to start than a client waits.
      for (let tries = 1; tries < 5 && stderr.includes("did not greet"); tries++)
        ({ stdout, stderr } = await call());
      expect([stdout, stderr]).toEqual(["42\n", ""]);
    },
    LIMIT_MS,
  );

  test(
    "runs a program, which needs nothing installed",
    async () => {
      scratch.file("fn.ts", DOUBLE);
      scratch.file("client.ts", PROGRAM);
      const { stdout, stderr } = await run(["run", "client.ts", "a", "b"]);
      expect([stdout, stderr]).toEqual(["42 a b\n", ""]);
    },
    LIMIT_MS,
  );

  test(
    "serves others, which call a function on bytes from a pipe, until it is told to end",
    async () => {
      const address = scratch.join("node.sock");
      await using node = Bun.spawn([executable, "serve", "--listen", address], {
        env: { ...process.env, RFAAS_EXECUTABLE: executable },
        stdio: ["ignore", "ignore", "pipe"],
      });
      let said = "";
      for await (const text of node.stderr.pipeThrough(new TextDecoderStream(), {
        preventCancel: true,
      }))
        if ((said += text).includes("serving")) break;
      expect(said).toContain("serving");
      const text = "from x86-64 to arm64 and back";
      const target = `${join(FUNCTIONS, "good.ts")}#echo`;
      const { stdout } = await run(
        ["invoke", target, "--input", "-", "--node", address, "--polling", "hot", ...PATIENT],
        text,
      );
      expect(stdout).toBe(text);
      node.kill("SIGTERM");
      expect(await node.exited).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "serves a program with the library: every polling, failures, deadlines, a dead host, a daemon",
    async () => {
      const child = Bun.spawn([emulator.bun(), join(import.meta.dir, "client.ts")], {
        cwd: ROOT,
        env: { ...process.env, RFAAS_EXECUTABLE: executable, RFAAS_SHIM: buildShim("arm64") },
        stdio: ["ignore", "pipe", "pipe"],
      });
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      expect([await child.exited, stderr]).toEqual([0, ""]);
      expect(JSON.parse(stdout)).toEqual({
        ...{ architecture: "arm64", hot: "answers", warm: "answers", adaptive: "answers" },
        ...{ throws: "TypeError", spins: "DeadlineExceeded", kills: "WorkerLost" },
        daemon: "ended with its lease",
      });
    },
    LIMIT_MS,
  );
});
