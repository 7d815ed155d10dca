/** Native libraries and WebAssembly by the library and the executable: the examples, as their README builds them, and many functions. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, invoker } from "../support/library.ts";
import { buildLibrary, run, testWith } from "../support/compilers.ts";
import { RFAAS, ROOT, rfaas } from "../support/executable.ts";
import { APART } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
const EXAMPLES = join(ROOT, "functions", "native");
cpSync(EXAMPLES, scratch.path, { recursive: true });
let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => {
  await rf.close();
  scratch[Symbol.dispose]();
});

/** How the examples' README builds a file, run in a copy of their folder. Returns what was built. */
function build(source: string): string {
  const readme = readFileSync(join(EXAMPLES, "README.md"), "utf8");
  const command = new RegExp(`^\\| \`${source}\`[^|]*\\|[^|]*\\| \`([^\`]+)\``, "m").exec(
    readme,
  )?.[1];
  if (!command) throw new Error(`the README does not say how ${source} is built`);
  run(command.split(" "), scratch.path);
  return scratch.join(/-o (\S+)/.exec(command)![1]!);
}

async function call(path: string, name: string, bytes: Uint8Array, capacity = 64) {
  await using lease = await rf.allocate(path);
  const input = lease.input(Uint8Array, bytes.length);
  input.set(bytes);
  const output = lease.output(Uint8Array, capacity);
  return output.slice(0, lease.invoke(name, input, output));
}

const doubles = (...numbers: number[]) => new Uint8Array(new Float64Array(numbers).buffer);
const double = (bytes: Uint8Array) => new Float64Array(bytes.slice().buffer)[0];
const utf8 = (text: string) => new TextEncoder().encode(text);

describe("the example in", () => {
  test("C is called by name", async () => {
    const path = build("functions.c");
    expect(double(await call(path, "sum", doubles(1.5, 2, -0.25)))).toBe(3.25);
    expect(await call(path, "echo", utf8("round trip"))).toEqual(utf8("round trip"));
    const claimed = await call(path, "empty", new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]));
    expect([claimed.length, ...claimed.slice(0, 4)]).toEqual([8, 1, 2, 3, 4]);
  });

  testWith(["g++"])("C++ is", async () => {
    const path = build("median.cpp");
    expect(double(await call(path, "median", doubles(9, 1, 5)))).toBe(5);
    expect(double(await call(path, "median", doubles(9, 1, 5, 6)))).toBe(5.5);
    expect(await call(path, "median", doubles())).toHaveLength(0);
  });

  testWith(["gfortran"])("Fortran is", async () => {
    expect(double(await call(build("norm.f90"), "norm", doubles(3, 4)))).toBe(5);
  });

  testWith(["rustc"])("Rust is", async () => {
    const path = build("words.rs");
    expect([...(await call(path, "words", utf8("hot  and warm\ncalls")))]).toEqual([4, 0, 0, 0]);
  });

  testWith(["clang", "wasm-ld"])("C for WebAssembly is", async () => {
    expect(await call(build("reverse.c"), "reverse", utf8("drawer"))).toEqual(utf8("reward"));
  });
});

describe("rfaas invoke", () => {
  test("calls functions of a library by name, from any directory", async () => {
    const path = build("functions.c");
    const bytes = await rfaas(["invoke", `${path}#echo`, "--json", '"hello"']);
    expect(bytes).toMatchObject({ exitCode: 0, stdout: '"hello"\n' });
    const there = await rfaas(["invoke", "libfunctions.so#empty", "--json", "1234"], {
      cwd: scratch.path,
    });
    expect(there).toMatchObject({ exitCode: 0, stdout: "1234\n" });
    expect(await rfaas(["invoke", `${path}#empty`])).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test("says what is wrong with a library, and exits with what it means", async () => {
    const path = build("functions.c");
    // From afar the end of a process may be known before its cause is told.
    const killed = APART ? /the other side disconnected|killed by SIG/ : "killed by SIG";
    const cases: [target: string, exitCode: number, says: string | RegExp][] = [
      [path, 2, "has several functions (echo, empty, sum); choose one"],
      [`${path}#smu`, 2, 'exports no function "smu"; it has: echo, empty, sum'],
      [scratch.file("not.so", "no library"), 1, "is no ELF file"],
      [buildLibrary(scratch, "crash", "int f(void) { __builtin_trap(); }"), 4, killed],
    ];
    for (const [target, exitCode, says] of cases) {
      const ended = await rfaas(["invoke", target]);
      expect([target, ended.exitCode]).toEqual([target, exitCode]);
      expect(ended.stderr).toMatch(says);
      expect(ended.stdout).toBe("");
    }
  });

  test("shows what a native function prints, as it is printed", async () => {
    const path = buildLibrary(
      scratch,
      "prints",
      '#include <stdio.h>\nunsigned f(void) { printf("from C, %d\\n", 42); return 0; }',
    );
    expect((await rfaas(["invoke", path])).stderr).toContain("from C, 42");
  });
});

test("rfaas bench latency measures a named echo", async () => {
  const path = build("functions.c");
  const args = [
    "bench",
    "latency",
    "--module",
    `${path}#echo`,
    "--pairs",
    "1",
    "-n",
    "1000",
    "--json",
  ];
  const { exitCode, stdout, stderr } = await rfaas(args, { limitMs: 60_000 });
  expect([exitCode, stderr]).toEqual([0, expect.not.stringContaining("ERROR")]);
  expect(JSON.parse(stdout)).toMatchObject({ module: `${path}#echo`, iterations: 1000 });
});

describe("a library of a thousand functions", () => {
  const names = Array.from({ length: 1000 }, (_, i) => `f${i}`);
  const path = buildLibrary(
    scratch,
    "thousand",
    names
      .map(
        (name, i) =>
          `unsigned ${name}(void *in, unsigned n, unsigned *out) { *out = ${i}; return 4; }`,
      )
      .join("\n"),
  );

  test("has each of them called by its name", async () => {
    await using lease = await rf.allocate(path);
    expect(lease.functions).toHaveLength(1000);
    const output = lease.output(Uint32Array, 1);
    for (const [i, name] of names.entries()) {
      expect(lease.invoke(name, output, output)).toBe(4);
      expect(output[0]).toBe(i);
    }
    expect(() => lease.invoke("f1000", output, output)).toThrow("f100");
    expect(() => lease.invoke("f1000", output, output)).toThrow("980 more");
  });
});

describe("workers of one lease", () => {
  test("run a library's functions at the same time, on the same globals", async () => {
    const path = buildLibrary(
      scratch,
      "meet",
      `#include <stdatomic.h>
       #include <stdint.h>
       static atomic_uint here;
       /* Returns when both workers are in it. */
       uint32_t meet(void *input, uint32_t bytes, uint32_t *output) {
         atomic_fetch_add(&here, 1);
         while (atomic_load(&here) < 2) {}
         *output = atomic_load(&here);
         return 4;
       }
       uint32_t crc(const uint8_t *input, uint32_t bytes, uint32_t *output) {
         uint32_t sum = 2166136261u;
         for (uint32_t i = 0; i < bytes; i++) sum = (sum ^ input[i]) * 16777619u;
         *output = sum;
         return 4;
       }`,
    );
    await using lease = await rf.allocate(path, { workers: 2, memory: "8MiB" });
    const nothing = lease.input(Uint8Array, 0);
    const outputs = [0, 1].map(() => lease.output(Uint32Array, 1));
    const met = outputs.map((output, worker) =>
      lease.submit("meet", nothing, output, { worker, deadlineMs: 20_000 }),
    );
    expect(await Promise.all(met)).toEqual([4, 4]);
    expect(outputs.map((output) => output[0])).toEqual([2, 2]);

    const pairs = Array.from({ length: 500 }, (_, i) => {
      const input = lease.input(Uint8Array, 1 + ((i * 37) % 4000));
      for (let at = 0; at < input.length; at++) input[at] = (at * 31 + i) & 255;
      return [input, lease.output(Uint32Array, 1)] as const;
    });
    const results = await Array.fromAsync(lease.map("crc", pairs));
    expect(results.map(({ bytes }) => bytes)).toEqual(pairs.map(() => 4));
    for (const [input, output] of pairs) {
      let sum = 2166136261;
      for (const byte of input) sum = Math.imul(sum ^ byte, 16777619) >>> 0;
      expect(output[0]).toBe(sum);
    }
  });

  test("give functions valid pointers, whatever the lengths", async () => {
    const path = buildLibrary(
      scratch,
      "pointers",
      `#include <stdint.h>
       uint32_t valid(void *input, uint32_t bytes, void *output) {
         return input && output && (uintptr_t)input % 64 == 0 && (uintptr_t)output % 64 == 0 && bytes == 0 ? 0 : 1;
       }`,
    );
    await using lease = await rf.allocate(path);
    const empty = lease.input(Uint8Array, 0);
    const none = lease.output(Uint8Array, 0);
    // It would return 1, which is more than the output holds.
    expect(lease.invoke("valid", empty, none)).toBe(0);
    expect(lease.invoke("valid", empty, lease.output(Uint8Array, 4096))).toBe(0);
  });
});
