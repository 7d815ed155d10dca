/** `rfaas test`: runs the tests of a project of functions with the Bun that is inside this executable. */
import { Type } from "@sinclair/typebox";
import { bunCommand, bunEnvironment } from "../base/process.ts";
import type { Command } from "./shared/command.ts";
import { readOptions, text } from "./shared/options.ts";

const Options = Type.Object({ only: Type.Optional(text) });

export const test: Command = {
  usage: "test [files]",
  summary: "run a project's tests",
  description: `Runs the *.test.ts files of this folder, or those that are named, as \`bun test\` does; no Bun need be installed. What follows -- goes
to bun test as it is.`,
  options: [{ flag: "--only <pattern>", description: "tests whose names match" }],
  examples: [
    ["rfaas test", "all tests of this folder"],
    ["rfaas test --only 'wants at least'", "some tests"],
    ["rfaas test summary.test.ts -- --bail", "one file, up to the first failure"],
  ],
  passesRest: true,
  async run(args, raw) {
    const { only } = readOptions(Options, raw);
    const { "--": rest } = raw;
    const further = Array.isArray(rest) ? rest.map(String) : [];
    const filter = only === undefined ? [] : ["-t", String(only)];
    const { exited } = Bun.spawn(bunCommand(["test", ...filter, ...args, ...further]), {
      env: bunEnvironment(),
      stdio: ["inherit", "inherit", "inherit"],
    });
    process.exit(await exited);
  },
};
