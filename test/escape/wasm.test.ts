/** Modules of WebAssembly that reach for more than their memory and what nodes give them: each beside a module that keeps to it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type Lease, RfaasError } from "../../src/index.ts";
import { I32, type WasmSource, assemble } from "../support/wasm.ts";
import { Stage } from "./stage.ts";
import { onLease } from "./try.ts";
import { SANDBOX, sandboxIsThere } from "./which.ts";

const LIMIT_MS = 60_000;
const OUTPUT = [0x20, 2];
const LENGTH = [0x20, 1];
const STORE = [0x36, 2, 0];
const CALL = 0x10;
const DROP = 0x1a;
const constant = (value: number): number[] => {
  // Five groups of seven bits, the last with the sign.
  const bits = [0, 7, 14, 21, 28].map((shift) => (value >>> shift) & 0x7f);
  const last = (value | 0) < 0 ? bits[4]! | 0x70 : bits[4]!;
  return [0x41, ...bits.slice(0, 4).map((group) => group | 0x80), last];
};
const READ = [0x28, 2, 0];

let stage: Stage;
let made = 0;
beforeAll(async () => {
  stage = await Stage.open(sandboxIsThere ? SANDBOX : "none");
}, LIMIT_MS);
afterAll(async () => await stage?.[Symbol.asyncDispose]());

/** What comes of a call of its function `f`: `answered`, or the code or class of the error that has stopped it. */
async function outcome(source: WasmSource): Promise<string> {
  const path = stage.scratch.join(`module-${made++}.wasm`);
  writeFileSync(path, assemble(source));
  try {
    return await onLease(stage, stage.node, path, async (lease: Lease) => {
      const input = lease.input(Uint8Array, 8);
      await lease.submit("f", input, lease.output(Uint8Array, 8), { deadlineMs: 2000 });
      return "answered";
    });
  } catch (error) {
    if (!(error instanceof RfaasError)) throw error;
    return error.constructor.name;
  }
}

const withBody = (...body: number[]): WasmSource => ({ functions: [{ name: "f", body }] });
const withImport = (module: string, name: string, params: number[], results: number[]) => ({
  imports: [{ module, name, params, results }],
  functions: [{ name: "f", body: [...constant(0)] }],
});

describe("a module that", () => {
  const BEYOND: [string, number[]][] = [
    ["writes behind its memory", [...constant(-8), ...constant(1), ...STORE, ...constant(0)]],
    ["reads behind its memory", [...constant(-8), ...READ, DROP, ...constant(0)]],
    [
      "reads far behind it by an offset",
      [...constant(0), 0x28, 2, 0xf0, 0xff, 0xff, 0xff, 0x0f, DROP, ...constant(0)],
    ],
    [
      "fills behind its memory",
      [...constant(0), ...constant(1), ...constant(-1), 0xfc, 0x0b, 0, ...constant(0)],
    ],
    [
      "copies from behind its memory",
      [...OUTPUT, ...constant(-64), ...constant(64), 0xfc, 0x0a, 0, 0, ...constant(0)],
    ],
    ["calls itself without end", [...[0x20, 0], ...LENGTH, ...OUTPUT, CALL, 0]],
    ["answers with more than its output holds", [...constant(1 << 20)]],
    ["answers with less than nothing", [...constant(-1)]],
  ];
  test.each(BEYOND)(
    "%s has an error, and one that stays within answers",
    async (_, body) => {
      const found = await stage.beside(() => outcome(withBody(...body)));
      expect(found).toBe("FunctionError");
      const within = [...OUTPUT, ...constant(1), ...STORE, ...constant(4)];
      expect(await outcome(withBody(...within))).toBe("answered");
    },
    LIMIT_MS,
  );

  test(
    "never ends is late, and one that ends is not",
    async () => {
      const endless = [0x03, 0x40, 0x0c, 0, 0x0b, 0x00];
      const found = await stage.beside(() => outcome(withBody(...endless)));
      expect(["DeadlineExceeded", "WorkerLost"]).toContain(found);
      expect(await outcome(withBody(...constant(0)))).toBe("answered");
    },
    LIMIT_MS,
  );

  const IMPORTS: [module: string, name: string, params: number[], results: number[]][] = [
    ["env", "system", [I32], [I32]],
    ["env", "__syscall_openat", [I32, I32, I32, I32], [I32]],
    ["env", "emscripten_run_script", [I32], []],
    ["env", "constructor", [], []],
    ["env", "__proto__", [], []],
    ["bun:ffi", "dlopen", [I32], [I32]],
    ["node:fs", "readFileSync", [I32], [I32]],
    ["globalThis", "eval", [I32], [I32]],
  ];
  test.each(IMPORTS)(
    "imports %s.%s is not loaded, and one that imports a clock is",
    async (module, name, params, results) => {
      const wanted = withImport(module, name, params, results);
      const found = await stage.beside(() => outcome(wanted));
      expect(found).toBe("ModuleLoadError");
      expect(await outcome(withImport("env", "emscripten_notify_memory_growth", [I32], []))).toBe(
        "answered",
      );
    },
    LIMIT_MS,
  );

  const WASI: [name: string, params: number, wide: readonly number[]][] = [
    ["path_open", 9, [5, 6]],
    ["sock_send", 5, []],
    ["proc_raise", 1, []],
  ];
  test.each(WASI)(
    "asks WASI for %s gets nothing of the machine",
    async (name, count, wide) => {
      const params = Array.from({ length: count }, (_, i) => (wide.includes(i) ? 0x7e : I32));
      const args = params.flatMap((type, i) =>
        type === 0x7e ? [0x42, 0] : constant(i === 0 ? 3 : 0),
      );
      // Answers only where the call says that it went well.
      const body = [...args, CALL, 0, 0x04, 0x40, 0x00, 0x0b, ...constant(0)];
      const asking: WasmSource = {
        imports: [{ module: "wasi_snapshot_preview1", name, params, results: [I32] }],
        functions: [{ name: "f", body }],
      };
      const found = await stage.beside(() => outcome(asking));
      expect(["FunctionError", "ModuleLoadError"]).toContain(found);
      const clock = {
        module: "wasi_snapshot_preview1",
        name: "sched_yield",
        params: [],
        results: [I32],
      };
      const yielding = [CALL, 0, 0x04, 0x40, 0x00, 0x0b, ...constant(0)];
      expect(await outcome({ imports: [clock], functions: [{ name: "f", body: yielding }] })).toBe(
        "answered",
      );
    },
    LIMIT_MS,
  );
});
