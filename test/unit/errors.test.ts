import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as errors from "../../src/base/errors.ts";
import * as api from "../../src/index.ts";

const { EXIT, RfaasError, exitCode } = errors;

type Raised = InstanceType<typeof RfaasError>;

/** One of each class, with what a program may read of it, and how a command that ends with it exits. */
const RAISED: readonly [error: Raised, exit: number, fields: Record<string, unknown>][] = [
  [new api.UsageError("m"), EXIT.usage, {}],
  [new api.ProtocolError("m"), EXIT.failed, {}],
  [new api.NodeUnreachable("/run/a.sock", "m"), EXIT.noExecutor, { node: "/run/a.sock" }],
  [new api.LeaseRefused("RFAAS_NODE_FULL", "m"), EXIT.noExecutor, { code: "RFAAS_NODE_FULL" }],
  [new api.AddressInUse("m"), EXIT.failed, {}],
  [
    new api.ModuleLoadError("RFAAS_MODULE_FAILED", "fn.ts", "m"),
    EXIT.failed,
    { code: "RFAAS_MODULE_FAILED", module: "fn.ts" },
  ],
  [new api.NoSuchFunction("f", "m"), EXIT.usage, { functionName: "f" }],
  [new api.FunctionError({ name: "RangeError", message: "m" }), EXIT.failed, {}],
  [
    new api.InvalidValue("price", "input", "/spot", "expected a number"),
    EXIT.usage,
    { functionName: "price", side: "input", path: "/spot", problem: "expected a number" },
  ],
  [new api.DeadlineExceeded(250), EXIT.timeout, { deadlineMs: 250 }],
  [new api.WorkerLost(3, "m"), EXIT.leaseLost, { worker: 3 }],
  [
    new api.OutOfMemory(1, { heapBytes: 64, usedBytes: 65 }, "m"),
    EXIT.leaseLost,
    { worker: 1, heapBytes: 64, usedBytes: 65 },
  ],
  [
    new api.ConnectionLost(2, { verb: "receive", status: 12 }, "m"),
    EXIT.leaseLost,
    { worker: 2, verb: "receive", status: 12 },
  ],
  [new api.ConnectionFailed("m"), EXIT.noExecutor, {}],
  [
    new api.FabricUnavailable("m", { device: "mlx5_0", port: 1 }),
    EXIT.failed,
    { device: "mlx5_0", port: 1 },
  ],
  [new api.LeaseLost("m"), EXIT.leaseLost, {}],
  [new api.TokenRefused("expired", "m"), EXIT.failed, { reason: "expired" }],
  [new api.LedgerUnavailable("m"), EXIT.failed, {}],
  [new api.StateInUse("m"), EXIT.failed, {}],
  [new api.RegistryUnavailable("m"), EXIT.failed, {}],
  [new api.PackageInvalid("m"), EXIT.failed, {}],
  [new api.PackageTooLarge("m"), EXIT.failed, {}],
  [new api.PackageUnknown("ab12", "m"), EXIT.failed, { hash: "ab12" }],
  [new api.OutOfLeaseMemory(100, 64), EXIT.failed, { requestedBytes: 100, freeBytes: 64 }],
  [new api.QueueFull("m"), EXIT.failed, {}],
  [new api.EnvironmentError("m"), EXIT.failed, {}],
  [new api.PlatformUnsupported("m"), EXIT.failed, {}],
  [new api.VersionMismatch("m"), EXIT.failed, {}],
  [
    new api.PeerNotTrusted("m", { address: "a:1", seen: "sha256:1" }),
    EXIT.noExecutor,
    { address: "a:1", seen: "sha256:1" },
  ],
  [
    new api.KeyChanged("m", {
      address: "a:1",
      seen: "sha256:1",
      remembered: "sha256:2",
      file: "/f",
    }),
    EXIT.noExecutor,
    { address: "a:1", seen: "sha256:1", remembered: "sha256:2", file: "/f" },
  ],
];

/** A description and the class below it. */
const DESCRIBED = /\/\*\*((?:(?!\*\/)[^])*)\*\/\nexport class (\w+)/g;

const classesOf = (module: object): string[] =>
  Object.entries(module)
    .filter(([, value]) => value === RfaasError || value?.prototype instanceof RfaasError)
    .map(([name]) => name)
    .sort();

describe("the exported errors", () => {
  test("are all that rfaas raises", () => {
    expect(classesOf(api)).toEqual(classesOf(errors));
  });

  test("are all in the list of this test", () => {
    const listed = RAISED.map(([error]) => error.constructor.name);
    expect([...listed, "RfaasError"].sort()).toEqual(classesOf(api));
  });

  test("each say in their description why they are raised and what to do", () => {
    const source = ["errors.ts", "error/loss.ts", "error/trust.ts"]
      .map((path) => readFileSync(join(import.meta.dir, "../../src/base", path), "utf8"))
      .join("\n");
    const told = new Map(
      [...source.matchAll(DESCRIBED)].map(([, text, name]) => [
        name,
        text!.replaceAll(/\s*\n \*\s*/g, " ").trim(),
      ]),
    );
    const classes = classesOf(api).filter((name) => name !== "RfaasError");
    const untold = classes.filter(
      (name) => !/^\w.*\. What to do: \w.*\.$/.test(told.get(name) ?? ""),
    );
    expect(untold).toEqual([]);
  });

  test("have distinct codes that start with RFAAS_", () => {
    const codes = RAISED.map(([error]) => error.code);
    expect(new Set(codes).size).toBe(codes.length);
    for (const code of codes) expect(code).toMatch(/^RFAAS_[A-Z_]+$/);
  });

  test("are named like their classes, but for what a function threw", () => {
    for (const [error] of RAISED) {
      const { name } = error.constructor;
      expect(error.name).toBe(name === "FunctionError" ? "RangeError" : name);
    }
  });
});

describe.each(RAISED.map(([error, ...rest]) => [error.constructor.name, error, ...rest] as const))(
  "%s",
  (_, error, exit, fields) => {
    test("is an Error of rfaas with a message", () => {
      expect(error).toBeInstanceOf(Error);
      expect(error).toBeInstanceOf(RfaasError);
      expect(error.message).not.toBe("");
    });

    test(`makes a command exit with ${exit}`, () => {
      expect(error.exitCode).toBe(exit);
      expect(exitCode(error)).toBe(exit);
    });

    test("carries its data", () => {
      expect(error).toMatchObject(fields);
    });
  },
);

describe("the messages that rfaas writes itself", () => {
  test("say what was asked for and what to do", () => {
    expect(new api.DeadlineExceeded(250).message).toMatch(/within 250 ms; raise deadlineMs/);
    expect(new api.OutOfLeaseMemory(100, 64).message).toMatch(/100 more bytes \(64 are free\); /);
  });
});

describe("a cause", () => {
  const cause = new Error("connection refused");
  test.each<[string, Raised]>([
    ["UsageError", new api.UsageError("m", { cause })],
    ["NodeUnreachable", new api.NodeUnreachable("n", "m", { cause })],
    ["LeaseRefused", new api.LeaseRefused("c", "m", { cause })],
    ["ModuleLoadError", new api.ModuleLoadError("c", "n", "m", { cause })],
    ["WorkerLost", new api.WorkerLost(0, "m", { cause })],
    ["LeaseLost", new api.LeaseLost("m", { cause })],
  ])("is kept by %s", (_, error) => {
    expect(error.cause).toBe(cause);
  });
});

describe("FunctionError", () => {
  test("keeps the thrown error's code", () => {
    const error = new api.FunctionError({ name: "Error", message: "m", code: "E_MINE" });
    expect(error.code).toBe("E_MINE");
  });

  test("shows the worker's stack, then the caller's", () => {
    const error = new api.FunctionError({
      name: "Error",
      message: "m",
      stack: "Error: m\n    at f",
    });
    expect(error.remoteStack).toBe("Error: m\n    at f");
    expect(error.stack).toStartWith("Error: m\n    at f\n    --- called from ---\n");
    expect(error.stack).toContain("errors.test.ts");
  });
});

describe("exitCode", () => {
  test("is 1 for whatever rfaas did not raise", () => {
    for (const thrown of [new Error("m"), "text", undefined, null, { exitCode: 9 }])
      expect(exitCode(thrown)).toBe(1);
  });

  test("has the documented numbers", () => {
    expect({ ...EXIT }).toEqual({
      ok: 0,
      failed: 1,
      usage: 2,
      noExecutor: 3,
      leaseLost: 4,
      timeout: 124,
    });
  });
});
