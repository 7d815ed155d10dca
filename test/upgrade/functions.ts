/** What clients of both versions call. */
import { Type, defineFunction } from "rfaas/function";

type Bytes = Uint8Array<ArrayBuffer>;

/** Adds one to each byte. */
export function next(input: Bytes, output: Bytes): number {
  for (let i = 0; i < input.length; i++) output[i] = input[i]! + 1;
  return input.length;
}

export const greet = defineFunction(
  { input: Type.String(), output: Type.String() },
  (name, { log, progress }) => {
    log.info(`greeting ${name}`);
    progress(0.5, "half");
    return `hello ${name}`;
  },
);

export const fails = defineFunction({ input: Type.String(), output: Type.String() }, (why) => {
  throw Object.assign(new RangeError(why), { code: "E_WHY" });
});

export const later = defineFunction({ input: Type.Number(), output: Type.Number() }, async (ms) => {
  await Bun.sleep(ms);
  return ms;
});
