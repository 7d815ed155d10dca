/** `rfaas test`: runs the tests of a project of functions with the Bun that is inside this executable. */
import { bunCommand, bunEnvironment } from "../process.ts";
import type { Command } from "./command.ts";

export const test: Command = {
  usage: "test [files]",
  summary: "run a project's tests",
  description: `Runs the *.test.ts files of this folder, or those that are named, as \`bun test\` does; no Bun need be installed. What follows -- goes
to bun test as it is.`,
  options: [],
  examples: [
    ["rfaas test", "all tests of this folder"],
    ["rfaas test summary.test.ts -- --bail", "one file, up to the first failure"],
  ],
  async run(args, { "--": rest }) {
    const further = Array.isArray(rest) ? rest.map(String) : [];
    const { exited } = Bun.spawn(bunCommand(["test", ...args, ...further]), {
      env: bunEnvironment(),
      stdio: ["inherit", "inherit", "inherit"],
    });
    process.exit(await exited);
  },
};
