/** The inputs that are kept in the repository: a file for each target, a line for each input, deflated and in base64. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync, inflateRawSync } from "node:zlib";

const FOLDER = join(import.meta.dir, "..", "corpus");

export function readCorpus(target: string): Uint8Array<ArrayBuffer>[] {
  const path = join(FOLDER, `${target}.txt`);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines
    .slice(0, -1)
    .map((line) => new Uint8Array(inflateRawSync(Buffer.from(line, "base64"))));
}

export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  const lines = inputs.map((one) => `${deflateRawSync(one).toString("base64")}\n`);
  writeFileSync(join(FOLDER, `${target}.txt`), lines.join(""));
}

/** How many inputs are compared with each other. */
const MAX_SHORTENED = 400;

/**
 * As few and short inputs as take all ways that `inputs` take. `waysOf` gives those of one input, or nothing for one that must not
 * be kept.
 */
export async function minimise(
  inputs: readonly Uint8Array[],
  waysOf: (input: Uint8Array) => Promise<readonly number[] | undefined>,
): Promise<Uint8Array[]> {
  const missing = new Set<number>();
  const all: { input: Uint8Array; ways: readonly number[] }[] = [];
  for (const input of [...inputs].sort((a, b) => a.length - b.length)) {
    const ways = await waysOf(input);
    if (!ways) continue;
    all.push({ input, ways });
    for (const way of ways) missing.add(way);
  }
  const chosen: Uint8Array[] = [];
  while (missing.size > 0) {
    let best = { input: new Uint8Array() as Uint8Array, ways: [] as readonly number[], worth: 0 };
    for (const { input, ways } of all) {
      const own = ways.filter((way) => missing.has(way)).length;
      const worth = own / (16 + input.length);
      if (worth > best.worth) best = { input, ways, worth };
    }
    const needed = new Set(best.ways.filter((way) => missing.has(way)));
    const short =
      chosen.length < MAX_SHORTENED ? await shorten(best.input, needed, waysOf) : best.input;
    chosen.push(short);
    for (const way of needed) missing.delete(way);
  }
  return chosen.sort((a, b) => a.length - b.length);
}

async function shorten(
  input: Uint8Array,
  needed: ReadonlySet<number>,
  waysOf: (input: Uint8Array) => Promise<readonly number[] | undefined>,
): Promise<Uint8Array> {
  let best = input;
  for (let size = input.length >> 1; size >= 1; size >>= 1)
    for (let at = 0; at + size <= best.length;) {
      const less = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
      const ways = new Set(await waysOf(less));
      if ([...needed].every((way) => ways.has(way))) best = new Uint8Array(less);
      else at += size;
    }
  return best;
}
