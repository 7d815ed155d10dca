/** WebAssembly modules, sound and misbehaving, by the real executable: assembled here, so that no compiler is needed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import {
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  ModuleLoadError,
  invoker,
} from "../../src/index.ts";
import { RFAAS, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { F32, I32, I64, type WasmSource, assemble } from "../support/wasm.ts";

const GET = { input: [0x20, 0], bytes: [0x20, 1], output: [0x20, 2] };
const COPY = [...GET.output, ...GET.input, ...GET.bytes, 0xfc, 0x0a, 0, 0];
const constant = (value: number) => [0x41, value & 0x7f];
const call = (index: number) => [0x10, index];
const DROP = 0x1a;
const UNREACHABLE = 0x00;
const LOOP_FOR_EVER = [0x03, 0x40, 0x0c, 0, 0x0b, UNREACHABLE];

const echo = { name: "echo", body: [...COPY, ...GET.bytes] };
const wasi = (name: string, params: number[], results = [I32]) => ({
  module: "wasi_snapshot_preview1",
  name,
  params,
  results,
});

const scratch = new Scratch();
let count = 0;
function file(source: WasmSource | Uint8Array): string {
  const path = scratch.join(`module-${count++}.wasm`);
  writeFileSync(path, source instanceof Uint8Array ? source : assemble(source));
  return path;
}

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => {
  await rf.close();
  scratch[Symbol.dispose]();
});

async function leased(source: WasmSource, options: Parameters<Invoker["allocate"]>[1] = {}) {
  const lease = await rf.allocate(file(source), options);
  return { lease, [Symbol.asyncDispose]: () => lease.release() };
}

function caught(run: () => unknown): FunctionError {
  try {
    run();
  } catch (error) {
    return error as FunctionError;
  }
  throw new Error("nothing was thrown");
}

/** Calls `echo` with inputs of many sizes, up and down, and checks every byte. */
async function echoes(source: WasmSource): Promise<void> {
  await using held = await leased(source, { memory: "32MiB" });
  const { lease } = held;
  for (const length of [0, 1, 8, 33, 5000, 100, 70_000, 3_000_000, 40, 6_000_000]) {
    const input = lease.input(Uint8Array, length);
    for (let i = 0; i < length; i++) input[i] = (i * 7 + length) & 255;
    const output = lease.output(Uint8Array, length).fill(0);
    expect(lease.invoke("echo", input, output)).toBe(length);
    expect(Buffer.compare(output, input)).toBe(0);
    lease.free(input);
    lease.free(output);
  }
}

describe("a module of WebAssembly", () => {
  test("has its functions called with memory that grows for them", () =>
    echoes({ functions: [echo] }));

  test("may import its memory", () => echoes({ functions: [echo], importedMemory: [0, 2] }));

  test("may grow its memory in a call", () =>
    echoes({
      functions: [
        {
          name: "echo",
          body: [
            ...constant(1),
            0x40,
            0,
            DROP,
            ...COPY,
            ...constant(1),
            0x40,
            0,
            DROP,
            ...GET.bytes,
          ],
        },
      ],
    }));

  test("gives room by its malloc where it exports one", () =>
    echoes({
      // It takes pages and gives none back.
      functions: [
        echo,
        {
          name: "malloc",
          params: [I32],
          results: [I32],
          // memory.grow((bytes >> 16) + 1) << 16
          body: [
            ...GET.input,
            ...constant(16),
            0x76,
            ...constant(1),
            0x6a,
            0x40,
            0,
            ...constant(16),
            0x74,
          ],
        },
        { name: "free", params: [I32], results: [], body: [] },
      ],
    }));

  test("has an instance for each worker", async () => {
    // Returns how many pages the memory has, and grows it by one.
    const body = [...GET.output, ...constant(1), 0x40, 0, 0x36, 2, 0, ...constant(4)];
    await using held = await leased({ functions: [{ name: "grow", body }] }, { workers: 2 });
    const { lease } = held;
    const pages = (worker: number) => {
      const output = lease.output(Uint32Array, 1);
      lease.invoke("grow", output, output, { worker });
      return output[0]!;
    };
    const first = pages(0);
    expect([pages(0), pages(0), pages(1)]).toEqual([first + 1, first + 2, first]);
  });

  test("is initialised once, before any call", async () => {
    const initialise = {
      name: "_initialize",
      params: [],
      results: [],
      body: [...constant(0), ...constant(42), 0x36, 2, 0],
    };
    const read = {
      name: "read",
      body: [...GET.output, ...constant(0), 0x28, 2, 0, 0x36, 2, 0, ...constant(4)],
    };
    await using held = await leased({ functions: [initialise, read] });
    const output = held.lease.output(Uint32Array, 1);
    expect(held.lease.invoke("read", output, output)).toBe(4);
    expect(output[0]).toBe(42);
  });

  test("explains a name of another type", async () => {
    const other = { name: "area", params: [F32, F32], results: [F32], body: [...GET.input] };
    await using held = await leased({ functions: [echo, other] });
    const view = held.lease.input(Uint8Array, 8);
    const says =
      'exports "area", but it is a function of the type (f32, f32) -> f32, which cannot be called; it has: echo';
    expect(() => held.lease.invoke("area", view, view)).toThrow(says);
    expect(() => held.lease.invoke("memory", view, view)).toThrow('"memory", but it is a memory');
  });
});

describe("the imports of emscripten and AssemblyScript", () => {
  const env = (name: string, params: number[], results: number[] = []) => ({
    module: "env",
    name,
    params,
    results,
  });
  /** Puts the input at 1024, with its length before it, and calls the first import with the arguments after it. */
  const withText = (...rest: number[][]) => [
    ...[...wide(1020), ...GET.bytes, 0x36, 2, 0],
    ...[...wide(1024), ...GET.input, ...GET.bytes, 0xfc, 0x0a, 0, 0],
    ...[...wide(1024), ...rest.flat(), ...call(0)],
  ];
  const wide = (value: number) => [0x41, (value & 0x7f) | 0x80, value >> 7];
  const utf16 = (text: string) => new Uint8Array(Buffer.from(text, "utf16le"));
  const utf8 = (text: string) => new TextEncoder().encode(`${text}\0`);

  async function fails(source: WasmSource, bytes: Uint8Array): Promise<FunctionError> {
    await using held = await leased({ ...source, functions: [...source.functions, echo] });
    const { lease } = held;
    const input = lease.input(Uint8Array, bytes.length);
    input.set(bytes);
    const output = lease.output(Uint8Array, 64);
    const failure = caught(() => lease.invoke("bad", input, output));
    expect(failure).toBeInstanceOf(FunctionError);
    // The call has ended, and nothing else has.
    expect(lease.invoke("echo", input, output)).toBe(bytes.length);
    expect([...output.subarray(0, bytes.length)]).toEqual([...bytes]);
    return failure;
  }

  test("end a call with the message that they are given", async () => {
    const body = [...withText(constant(0), constant(3), constant(7)), ...constant(0)];
    const source = {
      imports: [env("abort", [I32, I32, I32, I32])],
      functions: [{ name: "bad", body }],
    };
    const { message } = await fails(source, utf16("it is über"));
    expect(message).toContain("it is über (?:3:7)");
  });

  test("end a call whatever they are given for a message", async () => {
    for (const pointer of [0, 1, 3, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const bits = [0, 7, 14, 21, 28].map((shift) => (pointer >>> shift) & 0x7f);
      // Five groups of seven bits, the last with the sign.
      const signed = (pointer | 0) < 0 ? bits[4]! | 0x70 : bits[4]!;
      const at = [0x41, ...bits.slice(0, 4).map((group) => group | 0x80), signed];
      const body = [...at, ...at, ...constant(3), ...constant(7), ...call(0), ...constant(0)];
      const source = {
        imports: [env("abort", [I32, I32, I32, I32])],
        functions: [{ name: "bad", body }],
      };
      expect((await fails(source, utf16("x"))).message).toContain("abort");
    }
  }, 60_000);

  test("end a call as C does, with and without a reason", async () => {
    for (const name of ["abort", "_abort_js"]) {
      const body = [...call(0), ...constant(0)];
      const source = { imports: [env(name, [])], functions: [{ name: "bad", body }] };
      expect((await fails(source, utf8("x"))).message).toContain("the module called abort()");
    }
    const body = [...withText(wide(1024), constant(9), wide(1024)), ...constant(0)];
    const asserted = {
      imports: [env("__assert_fail", [I32, I32, I32, I32])],
      functions: [{ name: "bad", body }],
    };
    expect((await fails(asserted, utf8("n > 0"))).message).toContain(
      "Assertion failed: n > 0 (n > 0:9, in n > 0)",
    );
  });

  test("let the memory grow in a call, and its result is read where it is then", async () => {
    const notify = env("emscripten_notify_memory_growth", [I32]);
    await echoes({
      imports: [notify],
      functions: [
        {
          name: "echo",
          body: [
            ...[...constant(1), 0x40, 0, DROP, ...constant(0), ...call(0)],
            ...[...COPY, ...constant(1), 0x40, 0, DROP, ...constant(0), ...call(0), ...GET.bytes],
          ],
        },
      ],
    });
    // memory.size * 65536 + 65536 is asked for.
    const more = [0x3f, 0, ...constant(16), 0x74, ...wide(8192), ...constant(3), 0x74, 0x6a];
    await echoes({
      imports: [env("emscripten_resize_heap", [I32], [I32])],
      functions: [{ name: "echo", body: [...more, ...call(0), DROP, ...COPY, ...GET.bytes] }],
    });
  }, 60_000);

  test("say so when the memory may grow no more", async () => {
    const body = [...GET.output, ...constant(-1), ...call(0), 0x36, 2, 0, ...constant(4)];
    await using held = await leased({
      imports: [env("emscripten_resize_heap", [I32], [I32])],
      functions: [{ name: "more", body }],
      memories: [[1, 1, 4]],
    });
    const output = held.lease.output(Uint32Array, 1).fill(9);
    expect(held.lease.invoke("more", output, output)).toBe(4);
    expect(output[0]).toBe(0);
  });

  test("copy within the memory, and not beyond it", async () => {
    for (const name of ["_emscripten_memcpy_js", "emscripten_memcpy_js", "emscripten_memcpy_big"])
      await echoes({
        imports: [env(name, [I32, I32, I32])],
        functions: [
          {
            name: "echo",
            body: [...GET.output, ...GET.input, ...GET.bytes, ...call(0), ...GET.bytes],
          },
        ],
      });
    const beyond = [...GET.output, ...GET.input, ...constant(-1), ...call(0), ...constant(0)];
    const source = {
      imports: [env("_emscripten_memcpy_js", [I32, I32, I32])],
      functions: [{ name: "bad", body: beyond }],
    };
    expect((await fails(source, utf8("x"))).message).toContain("copies beyond its memory");
  }, 60_000);

  test("that nodes do not have are refused by name, with what to do", async () => {
    const wrong: [module: string, name: string, says: string][] = [
      ["env", "invoke_vii", "-fwasm-exceptions"],
      ["env", "__cxa_throw", "-fwasm-exceptions"],
      ["env", "__syscall_openat", "functions have no files"],
      ["a", "b", "-sSTANDALONE_WASM"],
      ["env", "emscripten_asm_const_int", "-sSTANDALONE_WASM"],
      ["env", "_localtime_js", "-sSTANDALONE_WASM"],
      ["wbg", "__wbindgen_throw", "wasm32-wasip1"],
      ["gojs", "runtime.wasmExit", "GOOS=wasip1"],
      ["wasi:cli/environment@0.2.0", "get-environment", "preview 1"],
      ["env", "toString", "link it in"],
      ["env", "__proto__", "link it in"],
    ];
    for (const [module, name, says] of wrong) {
      const source = { imports: [{ module, name, params: [I32], results: [] }], functions: [echo] };
      const error = await rf.allocate(file(source)).catch((error: unknown) => error);
      expect(error).toBeInstanceOf(ModuleLoadError);
      expect((error as Error).message).toContain(`imports ${module}.${name} (function)`);
      expect((error as Error).message).toContain(says);
    }
  }, 60_000);

  test("that have another type than nodes give them are refused with both", async () => {
    const source = { imports: [env("seed", [I32], [I32])], functions: [echo] };
    await expect(rf.allocate(file(source))).rejects.toThrow(
      "imports env.seed of the type (i32) -> i32, which nodes have as () -> f64",
    );
  });
});

describe("memory for arguments that a module without an exported malloc takes for itself", () => {
  /** Fills the memory from `from` on with ones, up to what the global heap would be: `length` bytes before the call's input. */
  const fill = (at: number[], bytes: number[]) => [...at, ...constant(1), ...bytes, 0xfc, 0x0b, 0];

  test("behind them is given up, and the call and those after it are right", () =>
    echoes({
      functions: [
        {
          name: "echo",
          // The last 64 bytes of what there is, as an allocator does that takes all pages.
          body: [
            ...fill([0x3f, 0, ...constant(16), 0x74, 0x41, 0xc0, 0, 0x6b], constant(8)),
            ...[...COPY, ...GET.bytes],
          ],
        },
      ],
    }));

  test("before them fails the call, and the next one has other memory", async () => {
    const spoil = [...GET.input, ...constant(4), 0x6b, ...constant(1), 0x36, 2, 0];
    await using held = await leased({
      functions: [echo, { name: "bad", body: [...spoil, ...COPY, ...GET.bytes] }],
    });
    const input = held.lease.input(Uint8Array, 100).fill(7);
    const output = held.lease.output(Uint8Array, 100);
    const failure = caught(() => held.lease.invoke("bad", input, output));
    expect(failure.message).toContain("let the module export its malloc");
    expect(failure.message).toContain("--exportRuntime");
    expect(held.lease.invoke("echo", input, output)).toBe(100);
    expect([...output]).toEqual([...input]);
  });
});

describe("WASI", () => {
  test("prints to the node's stderr", async () => {
    // An iovec of the input at the output's place; the count lands 8 bytes on.
    const body = [
      ...[...GET.output, ...GET.input, 0x36, 2, 0, ...GET.output, ...GET.bytes, 0x36, 2, 4],
      ...[...constant(1), ...GET.output, ...constant(1), ...GET.output, ...constant(8), 0x6a],
      ...[...call(0), DROP, ...constant(12)],
    ];
    const path = file({
      imports: [wasi("fd_write", [I32, I32, I32, I32])],
      functions: [{ name: "print", body }],
    });
    const { stderr, exitCode } = await rfaas(["invoke", path, "--json", '"from WebAssembly"']);
    expect(stderr).toContain('"from WebAssembly"');
    expect(exitCode).toBe(0);
  });

  test("has clocks and random numbers", async () => {
    const time = [...constant(0), 0x42, 0, ...GET.output, ...call(0), DROP, ...constant(8)];
    const random = [...GET.output, ...constant(8), ...call(1), DROP, ...constant(8)];
    await using held = await leased({
      imports: [
        wasi("clock_time_get", [I32, I64, I32]),
        wasi("random_get", [I32, I32]),
        wasi("clock_res_get", [I32, I32]),
      ],
      functions: [
        {
          name: "resolution",
          body: [...constant(0), ...GET.output, ...call(2), DROP, ...constant(8)],
        },
        { name: "time", body: time },
        { name: "random", body: random },
      ],
    });
    const output = held.lease.output(BigUint64Array, 1);
    expect(held.lease.invoke("resolution", output, output)).toBe(8);
    expect(output[0]).toBe(1n);
    expect(held.lease.invoke("time", output, output)).toBe(8);
    expect(Math.abs(Number(output[0]! / 1_000_000n) - Date.now())).toBeLessThan(60_000);
    const seen = new Set(
      Array.from({ length: 4 }, () => {
        held.lease.invoke("random", output, output);
        return output[0]!;
      }),
    );
    expect(seen.size).toBe(4);
  });

  test("opens no files, and closes none of the process's own", async () => {
    const [open, close] = [
      // path_open(3, ..): there is no folder 3. The answer is an error number.
      [...GET.output, ...constant(3), ...constant(0), ...GET.input, ...GET.bytes, ...constant(0)],
      [...GET.output, ...constant(2), ...call(1), 0x36, 2, 0, ...constant(4)],
    ];
    const path = [
      ...open!,
      0x42,
      0,
      0x42,
      0,
      ...constant(0),
      ...GET.output,
      ...call(0),
      0x36,
      2,
      0,
      ...constant(4),
    ];
    await using held = await leased({
      imports: [
        wasi("path_open", [I32, I32, I32, I32, I32, I64, I64, I32, I32]),
        wasi("fd_close", [I32]),
      ],
      functions: [
        { name: "open", body: path },
        { name: "close", body: close! },
      ],
    });
    const name = held.lease.input(Uint8Array, 11);
    name.set(new TextEncoder().encode("/etc/passwd"));
    const output = held.lease.output(Uint32Array, 1);
    held.lease.invoke("open", name, output);
    expect(output[0]).not.toBe(0);
    held.lease.invoke("close", name, output);
    expect(held.lease.invoke("close", name, output)).toBe(4);
    expect(output[0]).toBe(0);
  });

  test("makes an exit an error of the call", async () => {
    const body = [...constant(3), ...call(0), ...constant(0)];
    await using held = await leased({
      imports: [wasi("proc_exit", [I32], [])],
      functions: [{ name: "exit", body }, echo],
    });
    const view = held.lease.input(Uint8Array, 8);
    const error = caught(() => held.lease.invoke("exit", view, view));
    expect([error.code, error.message]).toEqual([
      "RFAAS_EXIT_FORBIDDEN",
      expect.stringContaining("called exit(3)"),
    ]);
    expect(held.lease.invoke("echo", view, view)).toBe(8);
  });
});

describe("a function of WebAssembly that misbehaves", () => {
  const bad: WasmSource = {
    functions: [
      echo,
      { name: "traps", body: [UNREACHABLE] },
      // Stores far behind the end of the memory.
      { name: "strays", body: [...constant(0x7f), ...constant(1), 0x36, 2, 0, ...constant(0)] },
      { name: "recurses", body: [...GET.input, ...GET.bytes, ...GET.output, ...call(3)] },
      { name: "oneTooMany", body: [...GET.bytes, ...constant(1), 0x6a] },
      { name: "negative", body: constant(0x7f) },
      { name: "spins", body: LOOP_FOR_EVER },
    ],
  };
  for (const [name, errorName, says] of [
    ["traps", "RuntimeError", "trapped: Unreachable code"],
    ["strays", "RuntimeError", "trapped: Out of bounds memory access"],
    ["recurses", "RangeError", "stack"],
    ["oneTooMany", "RangeError", "wrote 9 bytes but its output holds 8"],
    ["negative", "RangeError", "wrote 4294967295 bytes"],
  ] as const)
    test(`(${name}) fails its call, and the next call works`, async () => {
      await using held = await leased(bad);
      const view = held.lease.input(Uint8Array, 8).fill(5);
      const error = caught(() => held.lease.invoke(name, view, view));
      expect(error).toBeInstanceOf(FunctionError);
      expect([error.name, error.message]).toEqual([errorName, expect.stringContaining(says)]);
      expect(error.message).not.toContain("evaluating");
      const output = held.lease.output(Uint8Array, 8);
      expect(held.lease.invoke("echo", view, output)).toBe(8);
      expect([...output]).toEqual([5, 5, 5, 5, 5, 5, 5, 5]);
    });

  test("(spins) ends at its deadline, and then its lease does: the engine cannot stop it", async () => {
    await using held = await leased(bad);
    const view = held.lease.input(Uint8Array, 8);
    expect(() => held.lease.invoke("spins", view, view, { deadlineMs: 50 })).toThrow(
      DeadlineExceeded,
    );
    await expect(held.lease.submit("echo", view, view).then()).rejects.toThrow(
      "did not come back from native code or WebAssembly",
    );
  });

  test("and gets more than its memory may hold is told so", async () => {
    await using held = await leased({ functions: [echo], memories: [[1, 1, 3]] });
    const small = held.lease.input(Uint8Array, 8);
    const large = held.lease.input(Uint8Array, 300_000);
    const error = caught(() => held.lease.invoke("echo", large, large));
    expect(error.message).toContain("no room for 300000 bytes of arguments");
    expect(held.lease.invoke("echo", small, small)).toBe(8);
  });

  for (const [what, returned] of [
    ["nothing", 0],
    ["an address outside of its memory", 0x7f],
  ] as const)
    test(`and whose malloc returns ${what} is told so`, async () => {
      const malloc = { name: "malloc", params: [I32], results: [I32], body: constant(returned) };
      await using held = await leased({ functions: [echo, malloc] });
      const view = held.lease.input(Uint8Array, 8);
      expect(() => held.lease.invoke("echo", view, view)).toThrow("its malloc returned");
    });
});

describe("a module of WebAssembly that cannot be used", () => {
  const cases: [what: string, source: WasmSource | Uint8Array, code: string, says: string][] = [
    ["is text", new TextEncoder().encode("(module)"), "RFAAS_MODULE_FAILED", "cannot be loaded"],
    [
      "is cut off",
      assemble({ functions: [echo] }).subarray(0, 40),
      "RFAAS_MODULE_FAILED",
      "cannot be loaded",
    ],
    ["is empty", new Uint8Array(0), "RFAAS_MODULE_FAILED", "cannot be loaded"],
    [
      "has a shared memory",
      { functions: [echo], memories: [[3, 1, 2]] },
      "RFAAS_MODULE_FAILED",
      "shared memory; build it without threads",
    ],
    [
      "imports a shared memory",
      { functions: [echo], importedMemory: [3, 1, 2] },
      "RFAAS_MODULE_FAILED",
      "shared memory",
    ],
    [
      "has no memory",
      { functions: [{ name: "f", body: constant(0) }], memories: [] },
      "RFAAS_MODULE_FAILED",
      "has 0 memories",
    ],
    [
      "keeps its memory",
      { functions: [echo], exportMemory: false },
      "RFAAS_MODULE_FAILED",
      "does not export its memory",
    ],
    [
      "imports what no node has",
      { imports: [{ module: "env", name: "print", params: [], results: [] }], functions: [echo] },
      "RFAAS_MODULE_FAILED",
      "imports env.print (function), which no node has",
    ],
    [
      "is a command",
      { functions: [{ name: "_start", params: [], results: [], body: [] }] },
      "RFAAS_NO_FUNCTIONS",
      "it is a command; build it as a reactor",
    ],
    [
      "has functions of other types only",
      { functions: [{ name: "half", params: [I32], results: [I32], body: [...GET.input] }] },
      "RFAAS_NO_FUNCTIONS",
      "it exports half(i32) -> i32",
    ],
    [
      "traps while it is initialised",
      { functions: [echo, { name: "_initialize", params: [], results: [], body: [UNREACHABLE] }] },
      "RFAAS_MODULE_FAILED",
      "Unreachable",
    ],
  ];
  for (const [what, source, code, says] of cases)
    test(`(it ${what}) is refused with the reason`, async () => {
      const error = await rf.allocate(file(source)).then(
        () => {
          throw new Error("it was loaded");
        },
        (reason: unknown) => reason as ModuleLoadError,
      );
      expect(error).toBeInstanceOf(ModuleLoadError);
      expect([error.code, error.message]).toEqual([code, expect.stringContaining(says)]);
      expect(error.message).not.toContain("evaluating");
    });
});
