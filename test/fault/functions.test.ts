/** Functions and modules that misbehave: each failure is explained to its caller, and everything else keeps working. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  type Lease,
  ModuleLoadError,
  WorkerLost,
  invoker,
} from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { alive } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const BAD = join(FUNCTIONS, "bad.ts");

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => await rf.close());

/** A lease on the bad functions, with buffers of 8 bytes that do not fit in a response line's neighbour. */
async function badLease(options: Parameters<Invoker["allocate"]>[1] = {}) {
  const lease = await rf.allocate(BAD, { memory: "1MiB", polling: "hot", ...options });
  const input = lease.input(Uint8Array, 8);
  const output = lease.output(Uint8Array, 8);
  return {
    lease,
    input,
    output,
    async [Symbol.asyncDispose]() {
      await lease.release();
    },
  };
}

function caught(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}

test("a worker that is given up is told to be lost when its thread is gone, so that what has not run by then never does", async () => {
  using scratch = new Scratch();
  const module = scratch.file(
    "late.ts",
    `import { existsSync, writeFileSync } from "node:fs";
    const before = process.env.TMPDIR + "/loaded";
    if (existsSync(before)) Bun.sleepSync(1200);
    writeFileSync(before, "");
    export const fine = () => 0;
    export const spins = () => { for (;;); };`,
  );
  await using lease = await rf.allocate(module, { memory: "1MiB", loadTimeoutMs: 600 });
  const view = lease.output(Uint8Array, 8);
  const threads = (): string[] =>
    readdirSync(`/proc/${lease.hostPid}/task`).map((id) =>
      readFileSync(`/proc/${lease.hostPid}/task/${id}/comm`, "latin1").trim(),
    );
  expect(threads()).toContain("rfaas-worker-0");
  const stuck = lease.submit("spins", view, view, { deadlineMs: 50 });
  expect(await stuck.catch((error: unknown) => error)).toBeInstanceOf(DeadlineExceeded);
  const lost = await lease.submit("fine", view, view).catch((error: unknown) => error);
  expect(threads()).not.toContain("rfaas-worker-0");
  expect(lost).toBeInstanceOf(WorkerLost);
  expect(lost).toMatchObject({ mayHaveRun: false });
  expect((lost as Error).message).toContain("did not load again within 600 ms");
});

describe("a function that throws", () => {
  test("reaches the caller as FunctionError with its name, message, code and stack", async () => {
    await using held = await badLease();
    const { lease, input, output } = held;
    const error = caught(() => lease.invoke("throwsError", input, output)) as FunctionError;
    expect(error).toBeInstanceOf(FunctionError);
    expect([error.name, error.message, error.code]).toEqual([
      "TypeError",
      "the spot is negative",
      "E_SPOT",
    ]);
    expect(error.remoteStack).toContain("bad.ts");
    expect(lease.invoke("fine", input, output)).toBe(0);
  });

  test("does so too when it throws later, or is awaited", async () => {
    await using held = await badLease();
    const { lease, input, output } = held;
    await expect(lease.submit("rejects", input, output).then()).rejects.toThrow("too late");
    expect(caught(() => lease.invoke("rejects", input, output)).name).toBe("RangeError");
    await expect(lease.submit("throwsError", input, output).then()).rejects.toBeInstanceOf(
      FunctionError,
    );
  });

  test("may throw what is no Error", async () => {
    await using held = await badLease();
    const { lease, input, output } = held;
    expect(caught(() => lease.invoke("throwsString", input, output)).message).toContain(
      '"just text"',
    );
    expect(caught(() => lease.invoke("throwsUndefined", input, output)).message).toContain(
      "undefined",
    );
  });

  test("may throw more text than an error record holds: it is cut, not lost", async () => {
    await using held = await badLease();
    const error = caught(() => held.lease.invoke("throwsLong", held.input, held.output));
    expect(error.message).toStartWith("üüü");
    expect(error.message.length).toBeGreaterThan(500);
  });
});

describe("a wrong length", () => {
  const cases: [name: string, says: string][] = [
    ["returnsTooMuch", "wrote 9 bytes but its output holds 8; pass a larger output"],
    ["resolvesTooMuch", "wrote 9 bytes but its output holds 8"],
    ["returnsNegative", "returned -1"],
    ["returnsFraction", "returned 1.5"],
    ["returnsNaN", "returned NaN"],
    ["returnsText", 'returned "8"'],
    ["returnsNothing", "returned undefined"],
  ];
  for (const [name, says] of cases) {
    test(`from ${name} is an error that says what was returned`, async () => {
      await using held = await badLease();
      const error = caught(() => held.lease.invoke(name, held.input, held.output));
      expect(error).toBeInstanceOf(FunctionError);
      expect((error as FunctionError).code).toBe("RFAAS_WRONG_RESULT");
      expect(error.message).toContain(says);
      expect(held.lease.invoke("fine", held.input, held.output)).toBe(0);
    });
  }

  test("an output that is too small for the function is the function's own error", async () => {
    await using lease = await rf.allocate(join(FUNCTIONS, "good.ts"));
    const input = lease.input(Uint8Array, 100);
    const output = lease.output(Uint8Array, 10);
    expect(() => lease.invoke("echo", input, output)).toThrow(FunctionError);
    expect(lease.invoke("echo", output, input)).toBe(10);
  });

  test("an input larger than any slot is no problem: it stays in place", async () => {
    await using lease = await rf.allocate(join(FUNCTIONS, "good.ts"), { memory: "64MiB" });
    const input = lease.input(Uint8Array, 24 << 20).fill(9);
    const output = lease.output(Uint8Array, 24 << 20);
    expect(lease.invoke("echo", input, output)).toBe(24 << 20);
    expect(output.at(-1)).toBe(9);
  });
});

describe("a function that does not come back", () => {
  test("ends at its deadline, and its worker is replaced: the next call works", async () => {
    await using held = await badLease();
    const { lease, input, output } = held;
    expect(() => lease.invoke("spins", input, output, { deadlineMs: 50 })).toThrow(
      DeadlineExceeded,
    );
    await until(async () => {
      try {
        return (await lease.submit("fine", input, output, { deadlineMs: 2000 })) === 0;
      } catch (error) {
        if (error instanceof DeadlineExceeded) return false;
        throw error;
      }
    }, "the worker is replaced");
  });

  test("takes no other worker and no other lease with it", async () => {
    await using held = await badLease({ workers: 2 });
    await using other = await badLease();
    const { lease, input, output } = held;
    const stuck = lease.submit("spins", input, output, { worker: 0, deadlineMs: 300 });
    const ended = stuck.then(
      () => null,
      (error) => error,
    );
    for (let i = 0; i < 100; i++) {
      expect(lease.invoke("fine", input, output, { worker: 1 })).toBe(0);
      expect(other.lease.invoke("fine", other.input, other.output)).toBe(0);
    }
    expect(await ended).toBeInstanceOf(DeadlineExceeded);
  });

  test("is replaced while the deadlines of other calls pass, which do the new worker no harm", async () => {
    await using held = await badLease();
    const { lease, input, output } = held;
    const stuck = lease.submit("spins", input, output, { deadlineMs: 50 });
    await expect(stuck.then()).rejects.toBeInstanceOf(DeadlineExceeded);
    const lost: string[] = [];
    lease.on("worker-lost", ({ message }) => lost.push(message));
    await until(async () => {
      const call = lease.submit("fine", input, output, { deadlineMs: 2 });
      return await call.then(
        () => true,
        () => false,
      );
    }, "the new worker answers in time");
    expect(await lease.submit("fine", input, output)).toBe(0);
    expect(lost).toEqual([]);
  });

  test("behind it, a queued call is run by the new worker", async () => {
    await using held = await badLease();
    const { lease, input, output } = held;
    const stuck = lease.submit("spins", input, output, { deadlineMs: 50 });
    const behind = lease.submit("fine", input, output);
    await expect(stuck.then()).rejects.toBeInstanceOf(DeadlineExceeded);
    expect(await behind).toBe(0);
  });
});

describe("a module that changes while it is leased", () => {
  test("changes nothing for the lease, not even for a worker that is replaced", async () => {
    using scratch = new Scratch();
    const text = "export const spins = () => { for (;;); };\nexport const zero = () => 0;\n";
    await using lease = await rf.allocate(scratch.file("changes.ts", text), { polling: "hot" });
    const view = lease.input(Uint8Array, 8);
    expect(lease.invoke("zero", view, view)).toBe(0);
    scratch.file("changes.ts", `export const another = () => 1;\n${text}`);
    const behind = lease.submit("spins", view, view, { deadlineMs: 50 });
    const queued = lease.submit("zero", view, view);
    await expect(behind.then()).rejects.toBeInstanceOf(DeadlineExceeded);
    expect(await queued).toBe(0);
    await using changed = await rf.allocate(scratch.join("changes.ts"));
    expect(lease.functions).toEqual(["spins", "zero"]);
    expect(changed.functions).toEqual(["another", "spins", "zero"]);
  });
});

describe("a function that ends its process", () => {
  test("by process.exit gets an error instead", async () => {
    await using held = await badLease();
    const error = caught(() =>
      held.lease.invoke("exits", held.input, held.output),
    ) as FunctionError;
    expect(error.code).toBe("RFAAS_EXIT_FORBIDDEN");
    expect(held.lease.invoke("fine", held.input, held.output)).toBe(0);
  });

  test("or changes what it shares with other workers gets an error instead", async () => {
    using scratch = new Scratch();
    const text = `export const moves = () => process.chdir("/");
export const aborts = () => process.abort();
export const masks = () => process.umask(0o77);
export const bare = () => (process.argv.length === 2 && process.umask() === ${process.umask()} ? 0 : 1);`;
    await using lease = await rf.allocate(scratch.file("changing.ts", text));
    const view = lease.input(Uint8Array, 8);
    for (const name of ["moves", "aborts", "masks"])
      expect(caught(() => lease.invoke(name, view, view))).toMatchObject({
        code: "ERR_WORKER_UNSUPPORTED_OPERATION",
      });
    expect(lease.invoke("bare", view, view)).toBe(0);
  });

  test("or posts messages of its own disturbs nothing", async () => {
    using scratch = new Scratch();
    const text = `const all = [null, undefined, 1, "ready", [], { cmd: "loaded" }];
export const posts = () => (all.forEach((one) => postMessage(one)), 0);`;
    await using lease = await rf.allocate(scratch.file("posting.ts", text));
    const view = lease.input(Uint8Array, 8);
    for (let round = 0; round < 3; round++) expect(await lease.submit("posts", view, view)).toBe(0);
    // An answer of the node's comes behind what the host has heard.
    await lease.usage();
    expect(await lease.submit("posts", view, view)).toBe(0);
    expect(lease.parts[0]!.state).toBe("up");
  });

  for (const [name, signal] of [
    ["kills", "9"],
    ["crashes", "11"],
  ] as const) {
    test(`by a signal (${name}) ends its lease with WorkerLost, and nothing else`, async () => {
      await using other = await badLease();
      await using held = await badLease();
      const { lease, input, output } = held;
      const error = caught(() => lease.invoke(name, input, output));
      expect(error).toBeInstanceOf(WorkerLost);
      expect(error.message).toContain(`signal ${signal}`);
      expect(() => lease.invoke("fine", input, output)).toThrow(WorkerLost);
      await expect(lease.submit("fine", input, output).then()).rejects.toThrow(WorkerLost);
      expect(other.lease.invoke("fine", other.input, other.output)).toBe(0);
      expect(alive(lease.hostPid)).toBe(false);
    });
  }

  test("while it is awaited, rejects the promise", async () => {
    await using held = await badLease({ polling: "warm" });
    await expect(held.lease.submit("kills", held.input, held.output).then()).rejects.toThrow(
      "SIGKILL",
    );
  });

  test("by an uncaught error outside a call is told what happened", async () => {
    await using held = await badLease({ workers: 2 });
    const { lease, input, output } = held;
    lease.invoke("throwsLater", input, output, { worker: 0 });
    await until(() => {
      try {
        lease.invoke("fine", input, output, { worker: 0 });
        return false;
      } catch (error) {
        expect(error).toBeInstanceOf(WorkerLost);
        return true;
      }
    }, "the worker is lost");
    await until(
      () =>
        caught(() => lease.invoke("fine", input, output, { worker: 0 })).message.includes(
          "nobody catches this",
        ),
      "the reason arrives",
    );
    expect(lease.invoke("fine", input, output, { worker: 1 })).toBe(0);
  });
});

describe("a function that exhausts memory", () => {
  for (const name of ["hoardsBuffers", "hoardsObjects"]) {
    test(`(${name}) ends in an error of its own lease only`, async () => {
      await using other = await badLease();
      await using held = await badLease();
      const { lease, input, output } = held;
      const error = caught(() => lease.invoke(name, input, output));
      expect(error instanceof FunctionError || error instanceof WorkerLost).toBe(true);
      expect(error.message).toContain("memory");
      expect(other.lease.invoke("fine", other.input, other.output)).toBe(0);
    }, 60_000);
  }
});

describe("a module", () => {
  const load = (
    path: string,
    options: Parameters<Invoker["allocate"]>[1] = {},
  ): Promise<ModuleLoadError> =>
    rf.allocate(path, options).then(
      async (lease: Lease) => {
        await lease.release();
        throw new Error("the module was loaded");
      },
      (error) => error as ModuleLoadError,
    );

  test("that does not exist is named", async () => {
    const error = await load("/no/such/file.ts");
    expect(error).toBeInstanceOf(ModuleLoadError);
    expect(error.code).toBe("RFAAS_MODULE_NOT_FOUND");
    expect(error.message).toContain("/no/such/file.ts");
  });

  test("with a syntax error is shown with file, line and the line's text", async () => {
    using scratch = new Scratch();
    const path = scratch.file("broken.ts", "export const a = 1;\nexport function b( {\n");
    const error = await load(path);
    expect(error.code).toBe("RFAAS_MODULE_FAILED");
    expect(error.message).toContain(`${path}:2:`);
    expect(error.message).toContain("export function b( {");
  });

  test("that throws while it loads says what it threw, and where", async () => {
    using scratch = new Scratch();
    const error = await load(
      scratch.file("throws.ts", "export const f = () => 0;\nthrow new TypeError('no config');\n"),
    );
    expect(error.message).toContain("no config");
    expect((error.cause as Error).name).toBe("TypeError");
    expect((error.cause as Error).stack).toContain("throws.ts:2");
  });

  test("that throws a very long message is still explained", async () => {
    using scratch = new Scratch();
    const error = await load(scratch.file("long.ts", "throw new Error('x'.repeat(200_000));\n"));
    expect(error.code).toBe("RFAAS_MODULE_FAILED");
    expect(error.message).toStartWith("xxx");
  });

  test("that imports what is not there says so", async () => {
    using scratch = new Scratch();
    const error = await load(
      scratch.file("imports.ts", "import x from 'not-installed';\nexport const f = () => x;\n"),
    );
    expect(error.message).toContain("not-installed");
  });

  test("without functions is refused", async () => {
    using scratch = new Scratch();
    const error = await load(scratch.file("empty.ts", "export const answer = 42;\n"));
    expect(error.code).toBe("RFAAS_NO_FUNCTIONS");
    expect(error.message).toContain("answer");
  });

  for (const [what, text] of [
    ["awaits for ever", "await new Promise(() => {});\nexport const f = () => 0;\n"],
    ["loops for ever", "for (;;);\nexport const f = () => 0;\n"],
  ] as const) {
    test(`that ${what} while loading is given up after the time allowed`, async () => {
      using scratch = new Scratch();
      const error = await load(scratch.file("endless.ts", text), { loadTimeoutMs: 300 });
      expect(error.code).toBe("RFAAS_MODULE_TIMEOUT");
      expect(error.message).toContain("300 ms");
    });
  }

  test("that exits while it loads is refused, and the node lives", async () => {
    using scratch = new Scratch();
    const error = await load(
      scratch.file("exits.ts", "process.exit(3);\nexport const f = () => 0;\n"),
    );
    expect(error.code).toBe("RFAAS_MODULE_FAILED");
    expect(error.message).toContain("process.exit");
  });

  test("that kills its process while it loads is refused, and the node lives", async () => {
    using scratch = new Scratch();
    const path = scratch.file(
      "kills.ts",
      "process.kill(process.pid, 'SIGKILL');\nexport const f = () => 0;\n",
    );
    const error = await load(path);
    expect(error.code).toBe("RFAAS_MODULE_FAILED");
    expect(error.message).toContain("SIGKILL");
  });

  test("failures give back what they had taken", async () => {
    await until(async () => (await rf.status()).leases === 0, "the node has no leases left");
    expect((await rf.status()).freeCores).toBe(4);
  });
});
