/** What file names say of modules. One of none of the formats is TypeScript or JavaScript. */

/** Modules that come with rfaas are named, not found: `rfaas:echo`. */
export const BUILT_IN = "rfaas:";

const NAMES = {
  /** `lib.so`, `lib.so.2`. */
  native: /\.so(\.\d+)*$/,
  wasm: /\.wasm$/,
};

export type FormatName = keyof typeof NAMES;

/** The binary format of the module at `path`; undefined for one that is not binary. */
export function formatNameOf(path: string): FormatName | undefined {
  return (Object.keys(NAMES) as FormatName[]).find((name) => NAMES[name].test(path));
}
