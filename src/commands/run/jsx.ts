/**
 * How JSX is meant, which a tsconfig.json says. An executable of Bun 1.4.5 takes `paths` of it, and nothing about JSX, so a file of
 * JSX is given the pragmas that say the same, in front of its first line, so that its lines keep their numbers.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** What the loader is given for a file of JSX. Throws what reading the file throws. */
export function withPragmas(path: string): string {
  const text = readFileSync(path, "utf8");
  const pragmas = pragmasFor(path);
  if (pragmas === "") return text;
  return `/** ${pragmas} */${text.startsWith("#!") ? "//" : ""}${text}`;
}

/** By folder. */
const known = new Map<string, string>();

function pragmasFor(path: string): string {
  const folder = dirname(path);
  const pragmas = known.get(folder) ?? pragmasOf(optionsNear(folder));
  known.set(folder, pragmas);
  return pragmas;
}

function pragmasOf(options: Readonly<Record<string, unknown>>): string {
  const { jsx, jsxImportSource, jsxFactory, jsxFragmentFactory } = options;
  const pragmas = {
    jsxRuntime: jsx === undefined ? undefined : jsx === "react" ? "classic" : "automatic",
    jsxImportSource,
    jsx: jsxFactory,
    jsxFrag: jsxFragmentFactory,
  };
  return Object.entries(pragmas)
    .flatMap(([name, value]) => (typeof value === "string" ? [`@${name} ${value}`] : []))
    .join(" ");
}

/** `compilerOptions` of the nearest tsconfig.json, after those that it extends by a relative path. */
function optionsNear(folder: string): Record<string, unknown> {
  for (let at = folder; ; at = dirname(at)) {
    const options = optionsOf(join(at, "tsconfig.json"));
    if (options) return options;
    if (dirname(at) === at) return {};
  }
}

const MAX_EXTENDED = 10;

function optionsOf(path: string, depth = 0): Record<string, unknown> | undefined {
  let config: { extends?: unknown; compilerOptions?: Record<string, unknown> };
  try {
    config = Bun.JSONC.parse(readFileSync(path, "utf8")) as typeof config;
  } catch {
    return undefined;
  }
  const bases = [config.extends ?? []].flat().filter((base) => typeof base === "string");
  const inherited = bases
    .filter((base) => base.startsWith(".") && depth < MAX_EXTENDED)
    .map((base) => optionsOf(join(dirname(path), base), depth + 1));
  return Object.assign({}, ...inherited, config.compilerOptions);
}
