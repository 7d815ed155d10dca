/** The formats of modules by file name, for client, packer and node. A module of none of them is TypeScript or JavaScript. */
import type { BinaryFormat } from "./format.ts";
import { native } from "./native.ts";

/** Modules that come with rfaas are named, not found: `rfaas:echo`. */
export const BUILT_IN = "rfaas:";

const FORMATS = {
  native,
  wasm: {
    isNamed: (path) => path.endsWith(".wasm"),
    companions: () => [],
    inspect() {},
  },
} satisfies Record<string, BinaryFormat>;

export type FormatName = keyof typeof FORMATS;

/** The binary format of the module at `path`; undefined for one that is not binary. */
export function formatOf(path: string): (BinaryFormat & { name: FormatName }) | undefined {
  for (const [name, format] of Object.entries(FORMATS) as [FormatName, BinaryFormat][])
    if (format.isNamed(path)) return { name, ...format };
  return undefined;
}
