/**
 * Makes the declarations of the library, for programs that have no sources of ours: one file for each entry and one for what they
 * share, with the public types alone. npm's package and the kit of `rfaas new` have the same.
 *
 * The compiler writes a declaration for each source; a bundler keeps of them what the entries lead to. The dependencies' types stay
 * imports: schemas must be of the program's own copy of TypeBox.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RollupOutput, rollup } from "rollup";
import { dts } from "rollup-plugin-dts";

const ROOT = join(import.meta.dir, "..", "..");

/** What a program imports: `rfaas`, `rfaas/function` and `rfaas/testing`, by their names as files. */
export const ENTRIES = {
  index: "src/index.ts",
  function: "src/function/index.ts",
  testing: "src/testing/index.ts",
} as const;

/** What the types need of the language beyond ES2022, which a program's own `lib` may lack. */
const LIBRARIES = ["esnext.disposable", "esnext.float16"];

/** What the types need of the platform: DOM, Bun and Node declare each, and a program may have none of their types. */
const GLOBALS = {
  AbortSignal: "{ readonly aborted: boolean; readonly reason: any }",
  URL: "{ readonly href: string }",
} as const;

/** Of TypeScript 7, which writes declarations in a fifth of the time; the bundler needs the API of an older one. */
const COMPILER = join(ROOT, "node_modules", "typescript-7", "bin", "tsc");

const SHARED = "types.d.ts";

let made: Promise<Record<string, string>> | undefined;

/** `index.d.ts`, `function.d.ts`, `testing.d.ts` and what they share, by name. Throws when a source has an error. */
export function declarations(): Promise<Record<string, string>> {
  made ??= make();
  return made;
}

async function make(): Promise<Record<string, string>> {
  const scratch = mkdtempSync(join(tmpdir(), "rfaas-types-"));
  try {
    await compile(scratch);
    const files: Record<string, string> = {};
    for (const { fileName, code } of await bundle(scratch))
      files[fileName] =
        fileName === SHARED ? `${prelude()}${code}` : withTypes(code, await valuesOf(fileName));
    return files;
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

async function compile(outDir: string): Promise<void> {
  const config = join(outDir, "tsconfig.json");
  const compilerOptions = {
    ...{ rootDir: ROOT, outDir, noEmit: false, declaration: true, emitDeclarationOnly: true },
    // Members that are marked @internal are used inside only.
    ...{ stripInternal: true, types: [join(ROOT, "node_modules", "bun-types")] },
  };
  writeFileSync(
    config,
    JSON.stringify({
      extends: join(ROOT, "tsconfig.json"),
      compilerOptions,
      include: [],
      files: Object.values(ENTRIES).map((path) => join(ROOT, path)),
    }),
  );
  const child = Bun.spawn(["node", COMPILER, "-p", config], {
    ...{ cwd: ROOT, stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  });
  const said = await child.stdout.text();
  if ((await child.exited) !== 0) throw new Error(`the types of the library have errors:\n${said}`);
}

async function bundle(compiled: string): Promise<RollupOutput["output"][0][]> {
  const input = Object.fromEntries(
    Object.entries(ENTRIES).map(([name, path]) => [
      name,
      join(compiled, path.replace(/\.ts$/, ".d.ts")),
    ]),
  );
  const bundled = await rollup({
    input,
    external: (id) => !/^[./]/.test(id),
    plugins: [dts()],
    onwarn({ message }) {
      // Some types are used by name in public ones and have no public name themselves: a program has no use for them.
      if (!message.includes("no public re-export")) throw new Error(message);
    },
  });
  const entries = new Set(Object.values(input));
  const { output } = await bundled.generate({
    format: "es",
    entryFileNames: "[name].d.ts",
    chunkFileNames: "[name].d.ts",
    manualChunks: (id) => (entries.has(id) ? undefined : SHARED.replace(".d.ts", "")),
    minifyInternalExports: false,
  });
  await bundled.close();
  return output.filter((part) => part.type === "chunk");
}

/** The names that an entry has when a program runs: all others are types, whatever declares them. */
async function valuesOf(file: string): Promise<ReadonlySet<string>> {
  const path = Object.entries(ENTRIES).find(([name]) => file === `${name}.d.ts`)?.[1];
  if (path === undefined) throw new Error(`${file} is the file of no entry`);
  const entry = (await import(join(ROOT, path))) as object;
  return new Set(Object.keys(entry));
}

function withTypes(code: string, values: ReadonlySet<string>): string {
  return code.replaceAll(/^export \{(.*)\} from/gm, (_, names: string) => {
    const each = names.split(",").map((name) => {
      const exported = name.trim().split(" as ").at(-1)!;
      return values.has(exported) ? name.trim() : `type ${name.trim()}`;
    });
    return `export { ${each.join(", ")} } from`;
  });
}

function prelude(): string {
  const libraries = LIBRARIES.map((name) => `/// <reference lib="${name}" />\n`);
  const globals = Object.entries(GLOBALS).map(
    ([name, otherwise]) =>
      `type ${name} = typeof globalThis extends { ${name}: { prototype: infer Own } } ? Own : ${otherwise};\n`,
  );
  return [...libraries, ...globals].join("");
}
