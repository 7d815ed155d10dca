/** `rfaas test`: runs the tests of a project of functions with the Bun that is inside this executable. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Type } from "@sinclair/typebox";
import { EnvironmentError } from "../base/errors.ts";
import { bunCommand, bunEnvironment } from "../base/process.ts";
import { reasonOf } from "../base/system-errors.ts";
import { text } from "../options/fields.ts";
import { LIBRARY_FILES, loadKit } from "./new/kit.ts";
import { installedNear } from "./run/other-version.ts";
import { defineCommand } from "./shared/command.ts";

export const test = defineCommand({
  usage: "test [files]",
  summary: "run a project's tests",
  description: `Runs the *.test.ts files of this folder, or those that are named, as \`bun test\` does; no Bun need be installed. What follows -- goes
to bun test as it is. Tests import rfaas, rfaas/function and rfaas/testing from node_modules, and from this executable where none is there.`,
  options: Type.Object({
    only: Type.Optional(
      text("a pattern", { description: "tests whose names match", placeholder: "pattern" }),
    ),
  }),
  examples: [
    ["rfaas test", "all tests of this folder"],
    ["rfaas test --only 'wants at least'", "some tests"],
    ["rfaas test summary.test.ts -- --bail", "one file, up to the first failure"],
  ],
  completes: () => "file",
  passesRest: true,
  async run(args, { only }, rest) {
    const filter = only === undefined ? [] : ["-t", only];
    // Ctrl-C reaches the tests, too: they end, and then this process.
    process.on("SIGINT", () => {});
    const library = installedNear(process.cwd()) ? undefined : await lentLibrary();
    const preload = library === undefined ? [] : ["--preload", join(library, PRELOAD)];
    const { exited } = Bun.spawn(bunCommand(["test", ...preload, ...filter, ...args, ...rest]), {
      env: bunEnvironment(),
      stdio: ["inherit", "inherit", "inherit"],
    });
    const exitCode = await exited;
    if (library !== undefined) rmSync(library, { recursive: true, force: true });
    process.exit(exitCode);
  },
});

const PRELOAD = "preload.js";

/** The library as files, for the tests of a folder that has none: `bun test` runs in a process that is not rfaas. */
async function lentLibrary(): Promise<string> {
  const kit = await loadKit();
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(tmpdir(), "rfaas-test-library-"));
    writeLibrary(folder, kit);
    return folder;
  } catch (cause) {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    throw new EnvironmentError(
      `the library for the tests cannot be written to ${tmpdir()}: ${reasonOf(cause)}; let TMPDIR name a folder with room`,
      { cause },
    );
  }
}

function writeLibrary(folder: string, kit: Readonly<Record<string, string>>): void {
  const files = Object.entries(kit).filter(([path]) => /\.m?js$|package\.json$/.test(path));
  for (const [path, code] of files) {
    const place = join(folder, path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, code);
  }
  const modules = Object.entries(LIBRARY_FILES).map(
    ([name, file]) =>
      `  build.module(${JSON.stringify(name)}, () => ({ exports: { ...require(${JSON.stringify(`./${file}`)}) }, loader: "object" }));\n`,
  );
  writeFileSync(
    join(folder, PRELOAD),
    `Bun.plugin({ name: "rfaas", setup(build) {\n${modules.join("")}} });\n`,
  );
}
