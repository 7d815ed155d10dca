import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  ATTEMPT_MASK,
  ATTEMPT_SHIFT,
  END,
  HEADED,
  INPUT_OWN,
  LAYOUT,
  OUTPUT_OWN,
  POLLING,
  REMOTE,
  REPORTED,
  STATUS,
  TIMED,
  attemptBits,
} from "../../ffi/layout.ts";
import { native } from "../../ffi/library.ts";
import { SYMBOLS } from "../../ffi/symbols.ts";
import { FUNCTION_MASK, INPUT_INLINE, OUTPUT_INLINE, REQUEST } from "../../ffi/worker-endpoint.ts";

const SHIM = join(import.meta.dir, "..", "..", "ffi", "shim");
const header = readFileSync(join(SHIM, "core", "rfaas.h"), "utf8");

/** `RFAAS_WORKER_LOST = -4` of an enum as `workerLost: -4`. */
function enumeration(name: string): Record<string, number> {
  const body = new RegExp(`enum ${name} \\{([^}]*)\\}`).exec(header)?.[1];
  if (body === undefined) throw new Error(`rfaas.h has no enum ${name}`);
  return Object.fromEntries(
    [...body.matchAll(/(\w+) = (-?\d+)/g)].map(([, constant, value]) => [
      constant!
        .replace(/^RFAAS_(END_)?/, "")
        .toLowerCase()
        .replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
      Number(value),
    ]),
  );
}

function constant(name: string): number {
  const value = new RegExp(`#define ${name} (0x[0-9a-f]+|\\d+)u`).exec(header)?.[1];
  if (value === undefined) throw new Error(`rfaas.h does not define ${name}`);
  return Number(value);
}

describe("the layout of shared memory", () => {
  test("is the one that the compiled shim was made with", () => {
    const expected = Object.values(LAYOUT);
    const actual = new Uint32Array(new ArrayBuffer(4 * expected.length));
    expect(native().rfaas_layout(actual, actual.length)).toBe(expected.length);
    expect([...actual]).toEqual(expected);
  });

  test("is not written where there is no room for all of it", () => {
    const actual = new Uint32Array(new ArrayBuffer(4));
    expect(native().rfaas_layout(actual, actual.length)).toBe(Object.keys(LAYOUT).length);
    expect(actual[0]).toBe(0);
  });

  test("has the statuses, ends and ways to wait of the header", () => {
    expect<Record<string, number>>({ ...STATUS }).toEqual(enumeration("rfaas_status"));
    expect<Record<string, number>>({ ...END }).toEqual(enumeration("rfaas_end"));
    expect<Record<string, number>>({ ...REMOTE }).toEqual(enumeration("rfaas_remote_operation"));
    expect<Record<string, number>>({ ...POLLING }).toEqual(enumeration("rfaas_polling"));
  });

  test("has the request's flags of the header, which do not overlap", () => {
    expect(TIMED).toBe(constant("RFAAS_TIMED"));
    expect(REPORTED).toBe(constant("RFAAS_REPORTED"));
    expect(ATTEMPT_MASK).toBe(constant("RFAAS_ATTEMPT_MASK"));
    expect(ATTEMPT_SHIFT).toBe(constant("RFAAS_ATTEMPT_SHIFT"));
    expect([0, 1, 15, 16].map(attemptBits)).toEqual([0, 1 << 20, ATTEMPT_MASK, ATTEMPT_MASK]);
    expect(INPUT_OWN).toBe(constant("RFAAS_INPUT_OWN"));
    expect(OUTPUT_OWN).toBe(constant("RFAAS_OUTPUT_OWN"));
    expect(HEADED).toBe(constant("RFAAS_HEADED"));
    expect(FUNCTION_MASK).toBe(constant("RFAAS_FUNCTION_MASK"));
    expect(INPUT_INLINE).toBe(constant("RFAAS_INPUT_INLINE"));
    expect(OUTPUT_INLINE).toBe(constant("RFAAS_OUTPUT_INLINE"));
    const flags = [
      TIMED,
      HEADED,
      INPUT_OWN,
      OUTPUT_OWN,
      FUNCTION_MASK,
      ATTEMPT_MASK,
      REPORTED,
      INPUT_INLINE,
      OUTPUT_INLINE,
    ];
    expect(flags.reduce((sum, bits) => sum + bits)).toBe(flags.reduce((all, bits) => all | bits));
  });

  test("has the words of a request behind its inline payload", () => {
    expect(4 * REQUEST.inputOffset).toBe(LAYOUT.requestInputOffset);
    expect(Object.values(REQUEST)).toEqual([8, 9, 10, 11, 12, 13, 32, 33]);
  });
});

describe("the shim's functions", () => {
  type Declared = Record<string, { args: readonly string[] }>;
  const ofFabrics = [...new Bun.Glob("*/symbols.ts").scanSync(join(SHIM, ".."))].flatMap((path) =>
    Object.entries(require(join(SHIM, "..", path)) as Record<string, Declared>)
      .filter(([name]) => name.endsWith("SYMBOLS"))
      .map(([, declared]) => declared),
  );
  const symbols: Declared = Object.assign({}, SYMBOLS, ...ofFabrics);
  const exported = readdirSync(SHIM, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".c"))
    .flatMap((name) => [
      ...readFileSync(join(SHIM, name), "utf8").matchAll(
        /^RFAAS_EXPORT [\w *]*?(\w+)\(([^)]*)\)/gm,
      ),
    ])
    .map(([, name, parameters]) => ({ name: name!, parameters: parameters!.trim() }));

  test("are declared in one place each, those of fabrics in their folders", () => {
    expect(ofFabrics).not.toEqual([]);
    const counts = [SYMBOLS, ...ofFabrics].map((declared) => Object.keys(declared).length);
    expect(Object.keys(symbols).length).toBe(counts.reduce((sum, count) => sum + count));
  });

  test("are exported, every one that is declared", () => {
    const names = exported.map(({ name }) => name);
    expect(Object.keys(symbols).filter((name) => !names.includes(name))).toEqual([]);
  });

  test("are declared with as many arguments as they take", () => {
    for (const { name, parameters } of exported) {
      const count = parameters === "void" ? 0 : parameters.split(",").length;
      expect([name, symbols[name]?.args.length ?? count]).toEqual([name, count]);
    }
  });

  test("are declared, every one that is exported", () => {
    const declared = Object.keys(symbols);
    expect(exported.map(({ name }) => name).filter((name) => !declared.includes(name))).toEqual([]);
  });
});
