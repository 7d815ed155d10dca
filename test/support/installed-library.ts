/** The library as npm installs it: built, in `node_modules`, with or without the package of this platform beside it. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { version } from "../../package.json";
import { RFAAS, ROOT } from "./executable.ts";

export { version as VERSION };

export const PLATFORM = `@rfaas/linux-${process.arch}`;

/** What the library needs of npm. */
const DEPENDENCIES = ["@sinclair/typebox", "jose", "modern-tar", "msgpackr"];

/** Builds the library into a folder, as the package of npm has it, of some version. */
export async function buildLibrary(folder: string, ofVersion = version): Promise<void> {
  const src = join(ROOT, "src");
  const manifest = {
    name: "rfaas",
    version: ofVersion,
    type: "module",
    exports: {
      ".": entry("index.js", "node.js"),
      "./function": entry("function/index.js"),
      "./testing": entry("testing/index.js", "node.js"),
      "./package.json": "./package.json",
    },
    dependencies: Object.fromEntries(DEPENDENCIES.map((name) => [name, "*"])),
    optionalDependencies: { [PLATFORM]: ofVersion },
  };
  const built = await Bun.build({
    entrypoints: ["index.ts", "function/index.ts", "testing/index.ts"].map((path) =>
      join(src, path),
    ),
    root: src,
    outdir: join(folder, "dist"),
    naming: { entry: "[dir]/[name].[ext]", chunk: "[name]-[hash].[ext]" },
    target: "bun",
    format: "esm",
    splitting: true,
    packages: "external",
    define: { RFAAS_INSTALLED: "true" },
    plugins: [
      {
        name: "the version of the package",
        setup: (build) =>
          void build.onLoad({ filter: /\/package\.json$/ }, ({ path }) =>
            path === join(ROOT, "package.json")
              ? { contents: JSON.stringify(manifest), loader: "json" }
              : undefined,
          ),
      },
    ],
  });
  const forNode = await Bun.build({
    entrypoints: [join(src, "without-bun/index.ts")],
    outdir: join(folder, "dist"),
    naming: "node.js",
    target: "node",
  });
  if (!forNode.success) throw new Error("what Node gets cannot be built");
  if (!built.success) throw new Error(built.logs.map(({ message }) => message).join("\n"));
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
}

const entry = (path: string, inNode = path) => ({
  bun: `./dist/${path}`,
  node: `./dist/${inNode}`,
  default: `./dist/${path}`,
});

/** Puts what the library depends on into the `node_modules` of a folder. */
export function installDependencies(folder: string): void {
  for (const name of DEPENDENCIES)
    link(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
}

/** Puts the package of this platform there, of some version. */
export function installPlatform(folder: string, theirs = version): string {
  const at = join(folder, "node_modules", PLATFORM);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, "package.json"), JSON.stringify({ name: PLATFORM, version: theirs }));
  link(RFAAS, join(at, "rfaas"));
  link(join(ROOT, "ffi", "build", "librfaas.so"), join(at, "librfaas.so"));
  return at;
}

export function link(target: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(target, path);
}
