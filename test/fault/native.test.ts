/** Native functions and libraries that misbehave: each failure is explained to its caller, and everything else keeps working. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import {
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  type Lease,
  ModuleLoadError,
  NoSuchFunction,
  WorkerLost,
  invoker,
} from "../../src/index.ts";
import { buildLibrary } from "../support/compilers.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { alive } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const BAD = `
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define FUNCTION(name) uint32_t name(void *input, uint32_t bytes, void *output)
FUNCTION(fine) { memcpy(output, input, bytes); return bytes; }
FUNCTION(faults) { *(volatile int *)16 = 1; return 0; }
FUNCTION(divides) { volatile int one = 1, zero = 0; return (uint32_t)(one / zero); }
FUNCTION(aborts) { abort(); }
FUNCTION(kills) { raise(SIGKILL); return 0; }
FUNCTION(exits) { exit(3); }
FUNCTION(recurses) { volatile char deep[65536]; deep[0] = 1; return recurses((void *)deep, bytes, output) + deep[0]; }
FUNCTION(spins) { for (volatile int go = 1; go;) {} return 0; }
FUNCTION(oneTooMany) { return bytes + 1; }
FUNCTION(farTooMany) { return 0xffffffffu; }
`;

const scratch = new Scratch();
const bad = buildLibrary(scratch, "bad", BAD);
let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => {
  await rf.close();
  scratch[Symbol.dispose]();
});

async function badLease(options: Parameters<Invoker["allocate"]>[1] = {}) {
  const lease = await rf.allocate(bad, { memory: "1MiB", polling: "hot", ...options });
  const input = lease.input(Uint8Array, 64).fill(7);
  const output = lease.output(Uint8Array, 64);
  return { lease, input, output, [Symbol.asyncDispose]: () => lease.release() };
}

function caught(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}

/** What a call that must be lost ends with. */
async function lossOf(call: PromiseLike<number>): Promise<WorkerLost> {
  try {
    await call;
  } catch (error) {
    expect(error).toBeInstanceOf(WorkerLost);
    return error as WorkerLost;
  }
  throw new Error("the call was answered");
}

describe("a native function that crashes", () => {
  for (const [name, signal] of [
    ["faults", "SIGSEGV"],
    ["divides", "SIGFPE"],
    ["aborts", "SIGABRT"],
    ["kills", "SIGKILL"],
    ["recurses", "SIGSEGV"],
  ] as const) {
    test(`(${name}) ends its lease with WorkerLost and ${signal}, and nothing else`, async () => {
      await using other = await badLease();
      await using held = await badLease({ workers: 2 });
      const { lease, input, output } = held;
      const error = caught(() => lease.invoke(name, input, output)) as WorkerLost;
      expect(error).toBeInstanceOf(WorkerLost);
      expect(error.signal).toBe(signal);
      expect(error.message).toContain(signal);
      expect(() => lease.invoke("fine", input, output)).toThrow(WorkerLost);
      expect(other.lease.invoke("fine", other.input, other.output)).toBe(64);
      expect(other.output).toEqual(other.input);
      await until(() => !alive(lease.hostPid), "the host is gone");
    });
  }

  test("while it is awaited, rejects with the signal too", async () => {
    await using held = await badLease({ polling: "warm" });
    const { lease, input, output } = held;
    const error = await lossOf(lease.submit("faults", input, output));
    expect(error.signal).toBe("SIGSEGV");
  });

  test("leaves the node able to give the next lease", async () => {
    await using held = await badLease();
    expect(held.lease.invoke("fine", held.input, held.output)).toBe(64);
    await until(async () => (await rf.status()).leases === 1, "the lost leases are taken back");
  });

  test("is no signal when it exits: the code is told", async () => {
    await using held = await badLease();
    const error = caught(() => held.lease.invoke("exits", held.input, held.output)) as WorkerLost;
    expect(error).toBeInstanceOf(WorkerLost);
    expect(error.signal).toBeUndefined();
    expect(error.message).toContain("exited with code 3");
  });
});

describe("a native function that never returns", () => {
  test("ends its caller at the deadline, and then its lease, with the reason", async () => {
    await using other = await badLease();
    await using held = await badLease();
    const { lease, input, output } = held;
    expect(() => lease.invoke("spins", input, output, { deadlineMs: 1000 })).toThrow(
      DeadlineExceeded,
    );
    const behind = await lossOf(lease.submit("fine", input, output));
    expect(behind.message).toContain("did not come back from native code or WebAssembly");
    expect(other.lease.invoke("fine", other.input, other.output)).toBe(64);
  });
});

describe("a native function that claims more than its output holds", () => {
  for (const [name, claims] of [
    ["oneTooMany", "wrote 65 bytes but its output holds 64"],
    ["farTooMany", "wrote 4294967295 bytes but its output holds 64"],
  ] as const)
    test(`(${name}) is an error that warns of damage`, async () => {
      await using held = await badLease();
      const { lease, input, output } = held;
      const error = caught(() => lease.invoke(name, input, output)) as FunctionError;
      expect(error).toBeInstanceOf(FunctionError);
      expect(error.code).toBe("RFAAS_WRONG_RESULT");
      expect(error.message).toContain(claims);
      expect(error.message).toContain("may be damaged");
      expect(lease.invoke("fine", input, output)).toBe(64);
    });
});

describe("a library", () => {
  const load = (path: string, options: Parameters<Invoker["allocate"]>[1] = {}, on = rf) =>
    on.allocate(path, options).then(
      async (lease: Lease) => {
        await lease.release();
        throw new Error("the library was loaded");
      },
      (error) => error as ModuleLoadError,
    );

  /** The bad library for another machine. */
  function foreign(): string {
    const bytes = readFileSync(bad);
    bytes.writeUInt16LE(process.arch === "arm64" ? 62 : 183, 18);
    const path = scratch.join("foreign.so");
    writeFileSync(path, bytes);
    return path;
  }

  test("for another architecture is refused by the node, which names both", async () => {
    const error = await load(foreign());
    expect(error).toBeInstanceOf(ModuleLoadError);
    expect(error.code).toBe("RFAAS_MODULE_FAILED");
    const other = process.arch === "arm64" ? "x64" : "arm64";
    expect(error.message).toContain(`is built for ${other} and this node is ${process.arch}`);
  });

  test("with a symbol that nothing defines is refused with the symbol's name", async () => {
    const path = buildLibrary(
      scratch,
      "undefined",
      "int nowhere_to_be_found(void); int f(void) { return nowhere_to_be_found(); }",
    );
    const error = await load(path);
    expect(error.code).toBe("RFAAS_MODULE_FAILED");
    expect(error.message).toContain("undefined symbol: nowhere_to_be_found");
  });

  test("whose own libraries are missing is refused with their name", async () => {
    const needed = buildLibrary(scratch, "libneeded", "int needed(void) { return 1; }");
    const path = buildLibrary(
      scratch,
      "needs",
      "int needed(void); int f(void) { return needed(); }",
      ["-Wl,--no-as-needed", needed],
    );
    rmSync(needed);
    expect((await load(path)).message).toContain("libneeded.so: cannot open shared object file");
  });

  test("without the function that is called says which ones it has", async () => {
    await using held = await badLease();
    const error = caught(() => held.lease.invoke("fien", held.input, held.output));
    expect(error).toBeInstanceOf(NoSuchFunction);
    expect(error.message).toContain('exports no function "fien"; it has: aborts, divides');
  });

  const wrong: [what: string, path: () => string, code: string, says: string][] = [
    [
      "that is text",
      () => scratch.file("text.so", "export const f = () => 0;"),
      "RFAAS_MODULE_FAILED",
      "is no ELF file",
    ],
    ["that is empty", () => scratch.file("empty.so", ""), "RFAAS_MODULE_FAILED", "is no ELF file"],
    [
      "that is cut off",
      () => {
        const path = scratch.join("cut.so");
        writeFileSync(path, readFileSync(bad).subarray(0, 4321));
        return path;
      },
      "RFAAS_MODULE_FAILED",
      "is truncated",
    ],
    [
      "that is an executable",
      () => {
        const path = scratch.join("program.so");
        copyFileSync(process.execPath, path);
        return path;
      },
      "RFAAS_MODULE_FAILED",
      "is an executable, and no library",
    ],
    [
      "without functions",
      () => buildLibrary(scratch, "nothing", "int data = 1;"),
      "RFAAS_NO_FUNCTIONS",
      "exports no function; give",
    ],
  ];
  for (const [what, path, code, says] of wrong)
    test(`${what} is refused before a lease is asked for`, async () => {
      const before = await rf.status();
      const error = await load(path());
      expect(error).toBeInstanceOf(ModuleLoadError);
      expect([error.code, error.message]).toEqual([code, expect.stringContaining(says)]);
      expect((await rf.status()).freeCores).toBe(before.freeCores);
    });

  test("that does not exist is named by the node", async () => {
    const error = await load("/no/such/lib.so");
    expect(error.code).toBe("RFAAS_MODULE_NOT_FOUND");
    expect(error.message).toContain("/no/such/lib.so");
  });

  for (const [what, constructor, says] of [
    ["crashes", "*(volatile int *)16 = 1;", "SIGSEGV"],
    ["exits", "_Exit(5);", "exited with code 5"],
    ["never comes back", "for (volatile int go = 1; go;) {}", "loading"],
  ] as const)
    test(`that ${what} while it is opened is refused, and the node lives`, async () => {
      const source = `#include <stdlib.h>\n__attribute__((constructor)) static void begin(void) { ${constructor} }\nint f(void) { return 0; }`;
      const path = buildLibrary(scratch, `opens-${says.length}`, source);
      const error = await load(path, { loadTimeoutMs: 500 });
      expect(error).toBeInstanceOf(ModuleLoadError);
      expect(error.message).toContain(says);
      await using held = await badLease();
      expect(held.lease.invoke("fine", held.input, held.output)).toBe(64);
    });
});

test("a crash over a served node's socket carries the signal to a client in another process", async () => {
  await using node = await ServedNode.start(scratch.join("node.sock"), ["--cores", "1"]);
  await using remote = await invoker({ node: node.address });
  await using lease = await remote.allocate(bad, { polling: "warm" });
  const lost = Promise.withResolvers<string>();
  lease.on("lost", ({ message }) => lost.resolve(message));
  const view = lease.input(Uint8Array, 8);
  const error = await lossOf(lease.submit("divides", view, view));
  expect(error.signal).toBe("SIGFPE");
  expect(await lost.promise).toContain("SIGFPE");
  // It is the library's crash, and nobody else's.
  expect(node.stderr).not.toContain("oh no");
});
