/** What the manifests of npm's packages have in common, and what the main one says. */
import packageJson from "../../../package.json" with { type: "json" };
import type { Platform } from "../../target/platform.ts";

/** The package with the executable and the shim of a platform. */
export const platformPackage = (platform: Platform): string => `@rfaas/${platform}`;

const { version, license, author, homepage, bugs, repository } = packageJson as {
  version: string;
  license: string;
} & Partial<Record<"author" | "homepage" | "bugs" | "repository", string | object>>;

export const COMMON = { version, license, author, homepage, bugs, repository };

/** For Bun and for bundlers the library itself; Node and Deno, which cannot run it, get what says so. */
const entry = (name: string, node: string) => ({
  types: `./dist/${name}.d.ts`,
  bun: `./dist/${name}.js`,
  node: `./dist/${node}.js`,
  default: `./dist/${name}.js`,
});

/** `imported` are the packages that the built code and the declarations import. */
export function mainManifest(platforms: readonly Platform[], imported: readonly string[]): object {
  const dependencies: Readonly<Record<string, string>> = packageJson.dependencies;
  return {
    name: packageJson.name,
    ...COMMON,
    description: packageJson.description,
    keywords: packageJson.keywords,
    type: "module",
    sideEffects: false,
    engines: { bun: `>=${packageJson.engines.bun}` },
    bin: { rfaas: "bin/rfaas" },
    exports: {
      ".": entry("index", "node"),
      // Made of nothing that only Bun has.
      "./function": entry("function", "function"),
      "./testing": entry("testing", "node"),
      "./package.json": "./package.json",
    },
    files: ["bin", "dist", "THIRD-PARTY-LICENSES"],
    dependencies: Object.fromEntries(
      imported.toSorted().map((name) => {
        const wanted = dependencies[name];
        if (wanted === undefined)
          throw new Error(`the library imports ${name}, which is no dependency in package.json`);
        // Newer ones are as good, so that a program needs no second copy beside its own.
        return [name, `^${wanted}`];
      }),
    ),
    optionalDependencies: Object.fromEntries(
      platforms.map((platform) => [platformPackage(platform), version]),
    ),
  };
}
