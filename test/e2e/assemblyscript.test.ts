/** Modules as AssemblyScript's compiler makes them by default. Needs npm's registry. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { FunctionError, type Invoker, invoker } from "../support/library.ts";
import { RFAAS, ROOT, rfaas } from "../support/executable.ts";
import { run } from "../support/compilers.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const LOCKED = join(ROOT, "test", "wasm");
const registry = await reachesRegistry("AssemblyScript");

const SOURCE = `
export function echo(input: i32, bytes: i32, output: i32): i32 {
  memory.copy(output, input, bytes);
  return bytes;
}
export function bad(input: i32, bytes: i32, output: i32): i32 {
  throw new Error("not so: é " + bytes.toString());
}
export function check(input: i32, bytes: i32, output: i32): i32 {
  assert(bytes == 3, "three, please");
  return 0;
}
/** Makes many strings, and puts them out as one. */
export function words(input: i32, bytes: i32, output: i32): i32 {
  const all: string[] = [];
  for (let i = 0; i < bytes; i++) all.push("w" + load<u8>(input + i).toString());
  const utf8 = String.UTF8.encode(all.join(" "));
  memory.copy(output, changetype<usize>(utf8), utf8.byteLength);
  return utf8.byteLength;
}
const kept = new Map<i32, i32>();
/** Keeps what comes, and says how many different ones there were. */
export function keep(input: i32, bytes: i32, output: i32): i32 {
  for (let i = 0; i < bytes; i += 4) kept.set(load<i32>(input + i), i);
  store<i32>(output, kept.size);
  return 4;
}
export function chance(input: i32, bytes: i32, output: i32): i32 {
  store<f64>(output, Math.random());
  store<f64>(output, <f64>Date.now(), 8);
  return 16;
}
export function say(input: i32, bytes: i32, output: i32): i32 {
  console.log("a line of ours");
  console.error("a serious one");
  trace("numbers", 2, 1.5, 2.5);
  return 0;
}
`;

describe.skipIf(!registry)("a module of AssemblyScript", () => {
  const scratch = new Scratch();
  let rf: Invoker;
  beforeAll(async () => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    for (const file of ["package.json", "package-lock.json"])
      copyFileSync(join(LOCKED, file), scratch.join(file));
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], scratch.path);
    scratch.file("f.ts", SOURCE);
    const asc = ["node", scratch.join("node_modules/assemblyscript/bin/asc.js"), "f.ts"];
    run([...asc, "-o", "plain.wasm"], scratch.path);
    run([...asc, "-o", "optimised.wasm", "-O3"], scratch.path);
    run([...asc, "-o", "exporting.wasm", "-O", "--exportRuntime"], scratch.path);
    run([...asc, "-o", "minimal.wasm", "-O", "--runtime", "minimal"], scratch.path);
    rf = await invoker({ cores: 1, prewarm: 0 });
  }, 300_000);
  afterAll(async () => {
    await rf.close();
    scratch[Symbol.dispose]();
  });

  describe.each(["plain", "optimised", "exporting", "minimal"])("(%s)", (name) => {
    const take = (memory = "16MiB") => rf.allocate(scratch.join(`${name}.wasm`), { memory });

    test("is called, and computes with memory that it takes for itself", async () => {
      await using lease = await take();
      for (const length of [3, 40, 5000, 100_000, 7]) {
        const input = lease.input(Uint8Array, length);
        for (let i = 0; i < length; i++) input[i] = (i * 31 + length) & 255;
        const output = lease.output(Uint8Array, 5 * length + 8).fill(0);
        const expected = [...input].map((byte) => `w${byte}`).join(" ");
        for (let again = 0; again < 3; again++) {
          const written = lease.invoke("words", input, output);
          expect(new TextDecoder().decode(output.slice(0, written)) === expected).toBe(true);
        }
        expect(lease.invoke("echo", input, output)).toBe(length);
        expect(Buffer.compare(output.subarray(0, length), input)).toBe(0);
        lease.free(input);
        lease.free(output);
      }
    }, 60_000);

    test("keeps what it has between calls, whatever their sizes", async () => {
      await using lease = await take();
      let next = 0;
      for (const count of [1, 100, 50_000, 3, 200_000]) {
        const input = lease.input(Int32Array, count);
        for (let i = 0; i < count; i++) input[i] = next++;
        const output = lease.output(Int32Array, 1);
        lease.invoke("keep", input, output);
        expect(output[0]).toBe(next);
        lease.free(input);
        lease.free(output);
      }
    }, 60_000);

    test("says why it ends a call, and the next call works", async () => {
      await using lease = await take();
      const input = lease.input(Uint8Array, 5);
      const output = lease.output(Uint8Array, 64);
      const failure = (call: string): FunctionError => {
        try {
          lease.invoke(call, input, output);
        } catch (error) {
          return error as FunctionError;
        }
        throw new Error("nothing was thrown");
      };
      expect(failure("bad")).toBeInstanceOf(FunctionError);
      expect(failure("bad").message).toContain("not so: é 5 (f.ts:7:");
      expect(failure("check").message).toContain("three, please (f.ts:10:");
      expect(lease.invoke("echo", input, output)).toBe(5);
    });

    test("has random numbers and the time", async () => {
      await using lease = await take();
      const output = lease.output(Float64Array, 2);
      const seen = new Set<number>();
      for (let i = 0; i < 10; i++) {
        lease.invoke("chance", lease.input(Uint8Array, 1), output);
        seen.add(output[0]!);
      }
      expect(seen.size).toBe(10);
      for (const one of seen) expect(one >= 0 && one < 1).toBe(true);
      expect(Math.abs(output[1]! - Date.now())).toBeLessThan(60_000);
    });
  });

  test("writes its lines to the node's stderr", async () => {
    const { stderr, exitCode } = await rfaas(["invoke", `${scratch.join("plain.wasm")}#say`]);
    expect(exitCode).toBe(0);
    for (const line of ["a line of ours", "a serious one", "trace: numbers 1.5 2.5"])
      expect(stderr).toContain(line);
  }, 60_000);
});
