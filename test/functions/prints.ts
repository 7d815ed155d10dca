/** Functions that print, in every way that TypeScript has. */
import { writeSync } from "node:fs";
import { Type, defineFunction } from "rfaas/function";

const text = { input: Type.String(), output: Type.String() };

const WAYS: Record<string, (line: string) => void> = {
  "console.log": (line) => console.log(line),
  "console.error": (line) => console.error(line),
  "process.stdout": (line) => void process.stdout.write(`${line}\n`),
  "process.stderr": (line) => void process.stderr.write(`${line}\n`),
  "descriptor 1": (line) => void writeSync(1, `${line}\n`),
  "descriptor 2": (line) => void writeSync(2, `${line}\n`),
  "a child": (line) => void Bun.spawnSync(["echo", line], { stdio: ["ignore", 1, 2] }),
};
export const PRINTING_WAYS = Object.keys(WAYS);

/** Prints its input after the colon in the way that is named before it. */
export const print = defineFunction(text, (wanted) => {
  const [, way, line] = /^([^:]+):(.*)$/s.exec(wanted)!;
  WAYS[way!]!(line!);
  return "printed";
});

/** So many lines, each another one, since a log shows one line once. Returns how many. */
export const floods = defineFunction({ input: Type.Number(), output: Type.Number() }, (count) => {
  for (let i = 0; i < count; i++) writeSync(1, `flood ${i}\n`);
  return count;
});

/** By the log of its context, which its caller hears as well. */
export const logs = defineFunction(
  { input: Type.Number(), output: Type.Number() },
  (count, { log }) => {
    for (let i = 0; i < count; i++) log.info("l".repeat(4096));
    return count;
  },
);
