/** What a function sees of its environment: its own, that of a process that it starts, and that of native code. */
import { dlopen } from "bun:ffi";
import { execFileSync } from "node:child_process";
import { Type, defineFunction } from "rfaas/function";

const names = Type.Array(Type.String());
const libc = { getenv: { args: ["ptr"], returns: "ptr" } } as const;

export const environment = defineFunction(
  { input: names, output: Type.Object({ own: names, ofChild: names, ofNative: names }) },
  (names) => {
    const child = execFileSync("env", { encoding: "utf8" }).split("\n");
    const { getenv } = dlopen("libc.so.6", libc).symbols;
    return {
      own: names.filter((name) => name in process.env),
      ofChild: names.filter((name) => child.some((line) => line.startsWith(`${name}=`))),
      ofNative: names.filter((name) => getenv(Buffer.from(`${name}\0`)) !== null),
    };
  },
);
