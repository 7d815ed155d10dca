/** `rfaas test`: runs the tests of a project of functions with the Bun that is inside this executable. */
import { Type } from "@sinclair/typebox";
import { bunCommand, bunEnvironment, compiled, selfCommand } from "../base/process.ts";
import { text } from "../options/fields.ts";
import { defineCommand } from "./shared/command.ts";

export const test = defineCommand({
  usage: "test [files]",
  summary: "run a project's tests",
  description: `Runs the *.test.ts files of this folder, or those that are named, as \`bun test\` does; no Bun need be installed. What follows -- goes
to bun test as it is.`,
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
    const { exited } = Bun.spawn(bunCommand(["test", ...filter, ...args, ...rest]), {
      // The library of the project's kit starts nodes with this executable.
      env: { ...bunEnvironment(), ...(compiled ? { RFAAS_EXECUTABLE: selfCommand([])[0] } : {}) },
      stdio: ["inherit", "inherit", "inherit"],
    });
    process.exit(await exited);
  },
});
