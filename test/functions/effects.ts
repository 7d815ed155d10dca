/** Functions whose runs can be counted: each writes down that it has begun, in the file that its module was told of. */
import { appendFileSync } from "node:fs";

type Bytes = Uint8Array<ArrayBuffer>;

let file = "";

/** The input is the path of the file. */
export function tell(input: Bytes): number {
  file = new TextDecoder().decode(input);
  return 0;
}

const numbersOf = (input: Bytes): Uint32Array => new Uint32Array(input.buffer, input.byteOffset, 2);

/** The input is a number to write down, and for how many milliseconds to compute. */
export function effect(input: Bytes): number {
  const [number, ms] = numbersOf(input) as unknown as [number, number];
  appendFileSync(file, `${number}\n`);
  const until = performance.now() + ms;
  while (performance.now() < until);
  return 0;
}

/** As {@link effect}, but waits on the event loop. */
export async function later(input: Bytes): Promise<number> {
  const [number, ms] = numbersOf(input) as unknown as [number, number];
  appendFileSync(file, `${number}\n`);
  await Bun.sleep(ms);
  return 0;
}
