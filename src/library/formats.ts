/** The formats of binary modules, for client and packer. `format-names.ts` tells which one a file has. */
import type { BinaryFormat } from "./format.ts";
import { type FormatName, formatNameOf } from "./format-names.ts";
import { native } from "./native.ts";

const FORMATS: Readonly<Record<FormatName, BinaryFormat>> = {
  native,
  wasm: {
    companions: () => [],
    inspect() {},
  },
};

/** The binary format of the module at `path`; undefined for one that is not binary. */
export function formatOf(path: string): (BinaryFormat & { name: FormatName }) | undefined {
  const name = formatNameOf(path);
  return name && { name, ...FORMATS[name] };
}
