/** Functions of a module that writes down each time that a worker loads it, for the tests. */
import { appendFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RawFunction, Type, defineFunction } from "../../src/function/index.ts";

appendFileSync(join(tmpdir(), `rfaas-loads-${process.pid}`), ".");

export const never: RawFunction = () => new Promise<number>(() => {});

export const blob = defineFunction(
  { input: Type.Integer(), output: Type.Uint8Array() },
  (bytes) => new Uint8Array(bytes),
);
