/** The examples, each in a folder of its own as a user has it who copied it; `example-http-service.test.ts` has the service. */
import { beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { invoker } from "../support/library.ts";
import { RFAAS, ROOT, ServedNode, rfaas } from "../support/executable.ts";
import { KILLED } from "../support/fabric.ts";
import { Example } from "../support/example.ts";
import { alive, descendants } from "../support/processes.ts";
import { reachesRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";

const registry = await reachesRegistry("the example of inference");

beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});

/** Types what the README says, and compares with what it shows. */
async function followReadme(example: Example): Promise<void> {
  expect(example.consoles).not.toBeEmpty();
  for (const { typed, shown } of example.consoles)
    expect(await example.run(["bash", "-euc", typed])).toBe(shown);
}

test("every example is in the list of examples", () => {
  const list = readFileSync(join(ROOT, "examples/README.md"), "utf8");
  const folders = readdirSync(join(ROOT, "examples"), { withFileTypes: true });
  const names = folders.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(names.filter((name) => !list.includes(`](${name}/README.md)`))).toEqual([]);
});

test("READMEs link to files that are there", () => {
  const pages = [...new Bun.Glob("examples/**/README.md").scanSync(ROOT)].filter(
    (path) => !path.includes("node_modules"),
  );
  expect(pages.length).toBeGreaterThan(1);
  const broken = pages.flatMap((page) =>
    [...readFileSync(join(ROOT, page), "utf8").matchAll(/\]\((?!http)([^)#]+)/g)]
      .map(([, to]) => join(ROOT, dirname(page), to!))
      .filter((path) => !existsSync(path)),
  );
  expect(broken).toEqual([]);
});

describe("the pool", () => {
  test("prints what its README shows", async () => {
    using example = new Example("pool");
    await followReadme(example);
  });

  test("runs with Bun, too, where the library is installed", async () => {
    using example = new Example("pool");
    mkdirSync(example.join("node_modules"));
    symlinkSync(ROOT, example.join("node_modules/rfaas"));
    const env = { RFAAS_EXECUTABLE: RFAAS };
    const printed = await example.run([process.execPath, "pool.ts", "100000"], env);
    expect(printed).toBe(example.consoles[0]!.shown);
  });

  test("finds the longest chain below a million, which is known", async () => {
    using example = new Example("pool");
    const printed = await example.run(["rfaas", "run", "pool.ts"]);
    expect(printed.trimEnd().split("\n").at(-1)).toBe("837799 reaches 1 in 524 steps");
  });

  test.each(["before it works", "while it works"])(
    "ends by Ctrl-C %s, says how far it came, and leaves no process behind",
    async (when) => {
      using example = new Example("pool");
      const child = example.spawn(["rfaas", "run", "pool.ts", "1000000000"]);
      const said = child.stderr.text();
      const printed = child.stdout.getReader();
      if (when === "while it works") await printed.read();
      else await until(() => descendants(child.pid).length > 0, "the node starts");
      const started = descendants(child.pid);
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      expect(await said).toMatch(/^stopped by SIGINT; all numbers below \d+ were looked at\n$/);
      await until(() => !started.some(alive), "node and host have ended");
    },
  );
});

describe("the C library", () => {
  test("is built and prints what its README shows", async () => {
    using example = new Example("c-library");
    await followReadme(example);
  });

  test("filters as a computation here does, and writes nothing for an input that it cannot read", async () => {
    using example = new Example("c-library");
    await example.run("cc -O2 -shared -fPIC -o libsignal.so signal.c -lm".split(" "));
    await using rf = await invoker({ cores: 1 });
    await using lease = await rf.allocate(example.join("libsignal.so"));
    const taps = [0.5, -1, 2];
    const samples = [3, 1, 4, 1, 5, 9, 2, 6];
    const input = lease.input(Uint8Array, 8 + 8 * (taps.length + samples.length));
    const head = new Uint32Array(input.buffer, input.byteOffset, 2);
    head.set([taps.length, samples.length]);
    const numbers = [...taps, ...samples];
    new Float64Array(input.buffer, input.byteOffset + 8, numbers.length).set(numbers);
    const output = lease.output(Float64Array, 6);
    expect(lease.invoke("filter", input, output)).toBe(48);
    const expected = output.map((_, i) =>
      taps.reduce((sum, tap, k) => sum + tap * samples[i + k]!, 0),
    );
    expect([...output]).toEqual([...expected]);

    for (const [taps, samples] of [
      [0, 11],
      [12, 8],
      [3, 7],
      [2 ** 32 - 1, 2 ** 32 - 1],
    ] as const) {
      head.set([taps, samples]);
      expect(lease.invoke("filter", input, output)).toBe(0);
    }
    expect(lease.invoke("filter", input.subarray(0, 7), output)).toBe(0);
    expect(lease.invoke("levels", lease.input(Float64Array, 0), output)).toBe(0);
  });
});

describe("the solver", () => {
  test("prints what its README shows", async () => {
    using example = new Example("solver");
    await followReadme(example);
  });

  test("comes to the same solution however many workers share the grid", async () => {
    using example = new Example("solver");
    await using node = await ServedNode.start(example.join("node.sock"), ["--cores", "4"]);
    const solve = (workers: number) =>
      example.run(["rfaas", "run", "solver.ts", "31", String(workers)], {
        RFAAS_NODE: node.address,
      });
    const alone = await solve(1);
    expect(alone).toContain("error     1.481e-4");
    expect(await solve(3)).toBe(alone);
    expect(await solve(4)).toBe(alone);
  });

  test("says that a worker was lost, and ends", async () => {
    using example = new Example("solver");
    await using node = await ServedNode.start(example.join("node.sock"), ["--prewarm", "0"]);
    const child = example.spawn(["rfaas", "run", "solver.ts", "511"], { RFAAS_NODE: node.address });
    const said = child.stderr.text();
    await until(async () => {
      const { stdout } = await rfaas(["ps", "--json", "--node", node.address]);
      const { leases } = JSON.parse(stdout) as { leases: { usage: { calls: number } }[] };
      return leases.some(({ usage }) => usage.calls > 10);
    }, "it computes");
    for (const pid of descendants(node.pid)) process.kill(pid, "SIGKILL");
    expect(await child.exited).toBe(1);
    expect(await said).toMatch(KILLED);
  });
});

describe.skipIf(!registry)("inference", () => {
  test("prints what its README shows, which compares with a computation by hand", async () => {
    using example = new Example("inference");
    await followReadme(example);

    // Its types are checked here, where its package is installed. What has errors does not end with 0.
    const config = {
      extends: join(ROOT, "tsconfig.json"),
      compilerOptions: { typeRoots: [join(ROOT, "node_modules")] },
      include: ["*.ts"],
      exclude: [],
    };
    writeFileSync(example.join("tsconfig.json"), JSON.stringify(config));
    await example.run([process.execPath, "check"]);
  }, 300_000);
});
