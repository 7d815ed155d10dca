/** The neighbour of all attempts: it computes, and has something to lose. */
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Type, defineFunction } from "rfaas/function";

/** The sum of the squares up to a number, step by step. */
export const work = defineFunction({ input: Type.Number(), output: Type.Number() }, (upTo) => {
  let sum = 0;
  for (let i = 1; i <= upTo; i++) sum += i * i;
  return sum;
});

/** Keeps the text in its scratch folder and in its memory. Returns the file's path. */
export const keep = defineFunction({ input: Type.String(), output: Type.String() }, (text) => {
  const path = join(tmpdir(), "victims-own");
  writeFileSync(path, text);
  Object.assign(globalThis, { kept: Buffer.from(text) });
  return path;
});
