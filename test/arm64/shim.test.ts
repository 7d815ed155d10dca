/** The shim for arm64: what it needs of a machine, and what every fabric must do, by Bun for arm64 in the emulator. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { OLDEST_GLIBC } from "../../build/pack/system/glibc.ts";
import { buildShim } from "../../ffi/build.ts";
import { CONFORMANCE, overtakingShim } from "../fabric/overtaking/shim.ts";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { Emulator, whyNot } from "./emulator.ts";

const LIMIT_MS = 600_000;

describe.skipIf(whyNot() !== null)("the shim for arm64", () => {
  const scratch = new Scratch();
  let emulator: Emulator;
  let shim: string;
  beforeAll(() => {
    emulator = new Emulator();
    shim = buildShim("arm64");
  });
  afterAll(() => {
    emulator?.[Symbol.dispose]();
    scratch[Symbol.dispose]();
  });

  function symbols(library: string): string {
    const { stdout } = Bun.spawnSync(["aarch64-linux-gnu-readelf", "--dyn-syms", "-W", library]);
    return stdout.toString();
  }

  test("asks for no newer glibc than packages declare", () => {
    const asked = [...symbols(shim).matchAll(/@GLIBC_([\d.]+)/g)].map(([, version]) => version!);
    expect(asked.length).toBeGreaterThan(50);
    expect([...asked, OLDEST_GLIBC].toSorted(Bun.semver.order).at(-1)).toBe(OLDEST_GLIBC);
  });

  test("exports what the one for x86-64 does, and opens the same libraries of RDMA", async () => {
    const exported = (library: string): string[] =>
      [...symbols(library).matchAll(/GLOBAL DEFAULT +\d+ (rfaas_\w+)/g)]
        .map(([, name]) => name!)
        .toSorted();
    const opened = async (library: string): Promise<string[]> =>
      (await Bun.file(library).text()).match(/lib(?:ibverbs|rdmacm)\.so\.1/g) ?? [];
    const other = buildShim("x64");
    expect(exported(shim).length).toBeGreaterThan(60);
    expect(exported(shim)).toEqual(exported(other));
    expect(await opened(shim)).toEqual(await opened(other));
  });

  /** Runs tests by Bun for arm64 with a shim; returns how many have passed. */
  async function conform(library: string, args: readonly string[]): Promise<number> {
    const bun = emulator.bun();
    const preload = ["--preload", "./test/arm64/own-starter.ts"];
    const child = Bun.spawn([bun, "test", ...preload, "--timeout", `${LIMIT_MS}`, ...args], {
      cwd: ROOT,
      env: { ...process.env, RFAAS_SHIM: library, RFAAS_TEST_BUN: bun, RFAAS_TEST_EMULATED: "1" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const [output, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
    const failed = output.match(/^(?:error: |\(fail\) ).*$/gm) ?? [];
    expect([exitCode, failed]).toEqual([0, []]);
    return Number(/^ *(\d+) pass$/m.exec(output)?.[1]);
  }

  test(
    "moves bytes and wakes sleepers through shared memory, within a process and between two",
    async () => {
      expect(await conform(shim, ["./test/fabric/shm.test.ts"])).toBeGreaterThan(50);
    },
    LIMIT_MS,
  );

  test(
    "bears messages that overtake each other",
    async () => {
      const { shim: third } = overtakingShim(scratch, "arm64");
      expect(await conform(third, CONFORMANCE)).toBeGreaterThan(40);
    },
    LIMIT_MS,
  );
});
